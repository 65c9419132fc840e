"""Runs a suite of end-to-end tests: makes its virtual environment, generates the gRPC client, starts pytest.

Used by CTest (labels e2e, conformance); more arguments go to pytest: run.py --binary ... --source ... --work ... -- -k banner
"""

import argparse
import os
import pathlib
import subprocess
import sys
import venv

HERE = pathlib.Path(__file__).resolve().parent


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--binary", type=pathlib.Path, required=True)
    parser.add_argument("--source", type=pathlib.Path, required=True)
    parser.add_argument("--work", type=pathlib.Path, required=True)
    parser.add_argument("--suite", type=pathlib.Path, default=HERE, help="folder with the tests and requirements.txt")
    parser.add_argument("pytest_arguments", nargs="*")
    options = parser.parse_args()
    suite = options.suite.resolve()
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    python = prepare_environment(work / "venv", suite / "requirements.txt")
    stubs = generate_client(python, options.source / "proto", work / "client")

    environment = dict(os.environ)
    # A job launcher's variables would make every server a rank of that job.
    for name in list(environment):
        if name.startswith(("SWITCHYARD_", "SLURM_", "LWS_")) or name in ("WORLD_SIZE", "RANK", "MASTER_ADDR", "MASTER_PORT"):
            del environment[name]
    environment["PYTHONPATH"] = os.pathsep.join([str(stubs), str(HERE), str(suite)])
    environment["COLUMNS"] = "200"  # pytest cuts the reason behind the name of a failed test to this width
    environment["E2E_BINARY"] = str(options.binary.resolve())
    environment["E2E_SOURCE"] = str(options.source.resolve())
    command = [python, "-m", "pytest", str(suite), "-q", "-p", "no:cacheprovider", *options.pytest_arguments]
    return subprocess.run(command, env=environment, cwd=work).returncode


def prepare_environment(directory, requirements):
    """The environment's interpreter; made anew when the requirements have changed."""
    python = directory / "bin" / "python"
    stamp = directory / "requirements.stamp"
    if not stamp.exists() or stamp.read_text() != requirements.read_text():
        venv.EnvBuilder(with_pip=True, clear=True).create(directory)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements],
                       check=True)
        stamp.write_text(requirements.read_text())
    return python


def generate_client(python, proto, directory):
    directory.mkdir(parents=True, exist_ok=True)
    subprocess.run([python, "-m", "grpc_tools.protoc", f"--proto_path={proto}", f"--python_out={directory}",
                    f"--grpc_python_out={directory}", proto / "switchyard/v1/generation.proto"], check=True)
    return directory


if __name__ == "__main__":
    sys.exit(main())
