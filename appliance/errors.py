"""One tree of errors: what went wrong as a stable code, and whether the world may get better.

Each command line prints `error[code]: message` in one line and ends with `exit_code`. Anything that is
not an ApplianceError is a bug.
"""

from __future__ import annotations

from typing import ClassVar


class ApplianceError(Exception):
    """Base of all expected failures; the message says what to do, never a template, name or key."""

    code: ClassVar[str] = "appliance.error"
    retryable: ClassVar[bool] = False
    exit_code: ClassVar[int] = 3


class UsageError(ApplianceError):
    """Report a wrong argument."""

    code = "usage"
    exit_code = 2


class ConfigError(ApplianceError):
    """Report a configuration file that cannot be used, as `file:key: reason`."""

    code = "config.invalid"


class IntegrityError(ApplianceError):
    """Report bytes that are not what was signed, pinned or chained."""

    code = "integrity"


class ModelIntegrityError(IntegrityError):
    """Report a model file whose sha256 is not the manifest's."""

    code = "model.integrity"


class ModelMismatchError(ApplianceError):
    """Report templates made by another model than the one that runs."""

    code = "model.mismatch"


class ModelMissingError(ApplianceError):
    """Report a model that has not been fetched."""

    code = "model.missing"


class SourceRefusedError(ApplianceError):
    """Report a model source or camera address that may not be used."""

    code = "source.refused"


class RegistryError(ApplianceError):
    """Report that the package registry could not be reached or did not have the pinned package."""

    code = "source.unreachable"
    retryable = True


class AuthorityError(ApplianceError):
    """Report that something lacks the signatures, the time or the place that would allow it."""

    code = "authority"


class SignatureError(AuthorityError):
    """Report bytes that are not signed by whoever may sign them."""

    code = "authority.signature"


class ExpiredError(AuthorityError):
    """Report a list, authorisation or alert outside its time."""

    code = "authority.expired"


class RollbackError(AuthorityError):
    """Report a version older than the last one seen."""

    code = "authority.rollback"


class RecordError(ApplianceError):
    """Report bytes that do not parse as the record they claim to be."""

    code = "record.invalid"


class EnrolmentError(ApplianceError):
    """Report a picture or an entry that cannot be enrolled, with the reason."""

    code = "enrolment.refused"


class PictureError(ApplianceError):
    """Report a picture that cannot be decoded or encoded."""

    code = "picture.invalid"


class CameraError(ApplianceError):
    """Base of what cameras report."""

    code = "camera.error"


class CameraLostError(CameraError):
    """Report a camera that gives no frames; it may come back."""

    code = "camera.lost"
    retryable = True


class CameraStalledError(CameraError):
    """Report a camera that is connected and gives no more pictures."""

    code = "camera.stalled"
    retryable = True


class EndOfStreamError(CameraError):
    """Report that a file has no more frames."""

    code = "camera.end"


class CameraSourceError(CameraError):
    """Report a source that cannot be opened or holds no usable video."""

    code = "camera.source"


class BrokerError(ApplianceError):
    """Report that the broker is unreachable or refused us."""

    code = "broker.unreachable"
    retryable = True


class ChannelClosedError(ApplianceError):
    """Report that the other process is gone."""

    code = "channel.closed"
    retryable = True


class ProcessSettingsError(ApplianceError):
    """Report that the worker's memory settings did not take effect."""

    code = "process.settings"


class StorageError(ApplianceError):
    """Report a disk that cannot be written or a damaged store."""

    code = "storage"
    retryable = True


class KeyStoreError(ApplianceError):
    """Report a key that is missing, unreadable or open to others."""

    code = "keys"


class CudaError(ApplianceError):
    """Report a GPU that has no memory left or did not do its work; a new process may help."""

    code = "gpu"
    retryable = True


class EngineError(ApplianceError):
    """Report a TensorRT engine that is missing, cannot be built or was built for something else."""

    code = "engine"


class DependencyError(ApplianceError):
    """Report a program or package that the machine lacks, and how to get it."""

    code = "dependency.missing"


class WorkerError(ApplianceError):
    """Report what a worker said was wrong with it, or that it hung, under the worker's own code."""

    code = "worker"
    retryable = True

    def __init__(self, message: str, *, code: str = "worker", is_retryable: bool = True) -> None:
        super().__init__(message)
        self.code = code  # type: ignore[misc]  # the worker's code, not the class's
        self.retryable = is_retryable  # type: ignore[misc]  # likewise
