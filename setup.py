"""Install the appliance's four import packages and their commands."""

from __future__ import annotations

from setuptools import find_packages, setup

RUN = [
    "ai-edge-litert>=1.4",  # the present name of tflite-runtime
    "aiohttp>=3.11,<4",
    "aiomqtt>=2.5,<3",
    # ai-edge-litert asks for it on every Python; from 1.3 on it installs below 3.11 only.
    "backports.strenum<1.3; python_version >= '3.11'",
    "av>=15,<19",  # 19 has another open()
    "cryptography>=44",
    "numpy>=2.1,<3",
    "onnxruntime>=1.23",
    "pillow>=11",
    "prometheus-client>=0.21",
    "pydantic>=2.10,<3",
    "pynacl>=1.5,<2",
    "rich>=13",
    "tomli>=2; python_version < '3.11'",
    "typer>=0.15",
    "typing-extensions>=4.12",
]
# What central ops and the image build need beyond an appliance: the model converter.
BUILD = ["onnx>=1.18"]
TEST = [
    "blockbuster>=1.5",
    "hypothesis>=6.130",
    "import-linter>=2.3",
    "mypy>=1.15",
    "pytest>=8.3",
    "pytest-asyncio>=0.26",
    "pytest-timeout>=2.3",
    "ruff>=0.11",
    "setuptools>=75",
]

setup(
    name="appliance",
    version="0.1.0",
    python_requires=">=3.10",
    packages=find_packages(include=["appliance*", "drivers*", "models*", "provisioning*"]),
    package_data={
        "appliance": ["py.typed", "schemas/*.json"],
        "models": ["py.typed", "*.toml", "*.json"],
        "drivers": ["py.typed"],
        "provisioning": ["py.typed"],
    },
    install_requires=RUN,
    extras_require={"build": BUILD, "test": BUILD + TEST},
    entry_points={
        "console_scripts": [
            "appliance=appliance.__main__:main",
            "handset=appliance.__main__:handset_main",
            "models=appliance.__main__:models_main",
            "ops=provisioning.ops.__main__:main",
            "provision=provisioning.__main__:main",
        ]
    },
)
