"""What deploy/ ships: rules, dashboard, unit file and manifests, checked by the tools that read them."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys

import httpx
import kubernetes_validate
import pytest
import yaml

import harness

DEPLOY = harness.SOURCE / "deploy"
KUBERNETES_VERSION = "1.31"
# Of what those of kubernetes-validate do not know, the fields that we rely on.
LEADER_WORKER_SET_FIELDS = {"size", "restartPolicy", "leaderTemplate", "workerTemplate"}


def tool(name):
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed (tools/setup.sh --ci brings it)")
    return path


def test_prometheus_accepts_the_rules_and_they_fire_as_meant():
    promtool = tool("promtool")
    for command in (["check", "rules", "alerts.yml"], ["test", "rules", "alerts_test.yml"]):
        result = subprocess.run([promtool, *command], cwd=DEPLOY / "prometheus", capture_output=True, text=True)
        assert result.returncode == 0, result.stdout + result.stderr


def metric_names(text):
    return set(re.findall(r"switchyard:[a-z_]+", text))


def test_dashboard_and_rules_name_metrics_that_the_server_has(server):
    served = metric_names(server.get("/metrics").text) | {"switchyard:moe_expert_tokens_total"}  # the last by flag
    dashboard = json.loads((DEPLOY / "grafana/dashboards/switchyard.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    assert len(expressions) > 20
    used = metric_names(" ".join(expressions) + (DEPLOY / "prometheus/alerts.yml").read_text())
    assert used <= served, used - served


def test_prometheus_scrapes_the_server(server, tmp_path):
    prometheus = tool("prometheus")
    (tmp_path / "key").write_text("none")
    config = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    config["global"]["scrape_interval"] = "1s"
    config["rule_files"] = [str(DEPLOY / "prometheus/alerts.yml")]
    job = config["scrape_configs"][0]
    job["authorization"]["credentials_file"] = str(tmp_path / "key")
    job["static_configs"][0]["targets"] = [server.url.removeprefix("http://")]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    port = harness.free_port()
    with open(tmp_path / "log", "w") as log:
        process = subprocess.Popen([prometheus, f"--config.file={tmp_path}/prometheus.yml",
                                    f"--storage.tsdb.path={tmp_path}/data", f"--web.listen-address=127.0.0.1:{port}"],
                                   stdout=log, stderr=log)

    def value_of(query):
        try:
            reply = httpx.get(f"http://127.0.0.1:{port}/api/v1/query", params={"query": query}, timeout=5)
        except httpx.TransportError:
            return None
        if reply.status_code != 200:  # it says 503, in words, while it starts
            return None
        found = reply.json().get("data", {}).get("result", [])
        return float(found[0]["value"][1]) if found else None

    try:
        server.openai().completions.create(model=harness.NAME, prompt="hello", max_tokens=4)
        harness.wait_until(lambda: value_of("up") == 1.0, "the scrape succeeds")
        expected = server.metric("switchyard:generation_tokens_total")
        harness.wait_until(lambda: (value_of("sum(switchyard:generation_tokens_total)") or 0) >= expected,
                           "the tokens are in Prometheus")
        assert value_of("histogram_quantile(0.5, switchyard:time_to_first_token_seconds_bucket)") is not None
    finally:
        process.terminate()
        process.wait(timeout=harness.PATIENCE)


def test_unit_file_is_hardened():
    analyze = tool("systemd-analyze")
    result = subprocess.run([analyze, "security", "--offline=true", "--no-pager", "--threshold=15",
                             DEPLOY / "switchyard.service"], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-400:] + result.stderr
    exposure = float(re.search(r"exposure level for \S+: ([0-9.]+)", result.stdout)[1])
    assert exposure <= 1.5


def manifests():
    for path in sorted((DEPLOY / "kubernetes").glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            yield pytest.param(document, id=f"{path.stem}-{document['kind']}")


@pytest.mark.parametrize("manifest", list(manifests()))
def test_manifests_match_their_schemas(manifest):
    if manifest["kind"] != "LeaderWorkerSet":
        kubernetes_validate.validate(manifest, KUBERNETES_VERSION, strict=True)
        return
    # The set's own schema is a custom resource's; the pods in it are ordinary ones.
    template = manifest["spec"]["leaderWorkerTemplate"]
    assert set(template) == LEADER_WORKER_SET_FIELDS
    for name in ("leaderTemplate", "workerTemplate"):
        pod = {"apiVersion": "v1", "kind": "Pod", **template[name]}
        kubernetes_validate.validate(pod, KUBERNETES_VERSION, strict=True)


def commands_of(manifest):
    spec = manifest["spec"]
    template = spec.get("template") or spec["leaderWorkerTemplate"]["leaderTemplate"]
    return [container["args"] for container in template["spec"]["containers"]]


def compose():
    return yaml.safe_load((DEPLOY / "compose.yaml").read_text())


def test_compose_mounts_what_is_there_and_what_prometheus_reads():
    targets = set()
    for service in compose()["services"].values():
        for volume in service.get("volumes", []):
            source, target, _ = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", volume).rsplit(":", 2)
            assert (DEPLOY / source).exists(), volume
            targets.add(target)
        targets |= {config["target"] for config in service.get("configs", [])}
    prometheus = yaml.safe_load((DEPLOY / "prometheus/prometheus.yml").read_text())
    (job,) = prometheus["scrape_configs"]
    for path in (*prometheus["rule_files"], job["authorization"]["credentials_file"]):
        assert any(path == target or path.startswith(target + "/") for target in targets), path
    assert job["static_configs"][0]["targets"] == ["switchyard:8000"]


def test_manifests_and_scripts_use_flags_that_exist():
    known = set(re.findall(r"--[a-z][a-z0-9-]*", harness.run("serve", "--help").stdout))
    used = set()
    for parameter in manifests():
        (document,) = parameter.values
        if document["kind"] in ("Deployment", "LeaderWorkerSet"):
            for arguments in commands_of(document):
                used |= {argument for argument in arguments if argument.startswith("--")}
    script = (DEPLOY / "slurm/switchyard.sbatch").read_text()
    used |= set(re.findall(r"--[a-z][a-z0-9-]*", script[script.index(" serve "):]))
    used |= {argument for argument in compose()["services"]["switchyard"]["command"] if argument.startswith("--")}
    assert used and used <= known, used - known


def test_slurm_script_serves_from_two_tasks_and_drains_on_the_batch_signal(tmp_path):
    """Stand-ins for srun and scontrol, CPUs instead of GPUs; everything else is the script's."""
    port = harness.free_port(end=20000)
    master_port = harness.free_port(first=20000)  # the script's: the number of the job, from 20000 on
    programs = {
        "scontrol": "echo 127.0.0.1",
        "srun": """shift  # --kill-on-bad-exit
for rank in 0 1; do
  SLURM_NTASKS=2 SLURM_PROCID=$rank SLURM_NTASKS_PER_NODE=1 SLURM_LOCALID=0 SLURM_STEP_NODELIST=a "$@" & tasks+=($!)
done
trap 'kill -TERM "${tasks[@]}"' TERM
wait "${tasks[@]}" || wait "${tasks[0]}" && wait "${tasks[1]}"
""",
        "switchyard": f"""arguments=("${{@/#cuda/cpu}}")
exec {harness.BINARY} "${{arguments[@]/#0.0.0.0:8000/127.0.0.1:{port}}}" --grpc 127.0.0.1:0
""",
    }
    for name, text in programs.items():
        (tmp_path / name).write_text("#!/bin/bash\n" + text)
        (tmp_path / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "MODEL": str(harness.MODEL),
                   "SLURM_JOB_NODELIST": "a,b", "SLURM_JOB_ID": str(master_port),
                   "SWITCHYARD_API_KEY_FILE": str(tmp_path / "key")}
    tool("openssl")
    with open(tmp_path / "log", "w") as log:
        job = subprocess.Popen(["bash", DEPLOY / "slurm/switchyard.sbatch"], env=environment, stdout=log, stderr=log)
    try:
        url = f"http://127.0.0.1:{port}"
        harness.wait_until(lambda: job.poll() is not None or status_of(url + "/health") == 200, "the server is alive")
        assert job.poll() is None, (tmp_path / "log").read_text()
        assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
        key = {"Authorization": "Bearer " + (tmp_path / "key").read_text().strip()}
        harness.wait_until(lambda: status_of(url + "/ready", key) == 200, "the server is ready")
        assert status_of(url + "/ready", {}) == 401
        job.terminate()
        assert job.wait(timeout=harness.PATIENCE) == 0, (tmp_path / "log").read_text()
    finally:
        job.terminate()
        job.wait(timeout=harness.PATIENCE)


def status_of(url, headers=None):
    try:
        return httpx.get(url, headers=headers, timeout=harness.PATIENCE).status_code
    except httpx.TransportError:
        return None


def test_environment_of_the_images_is_understood(tmp_path):
    """The variables that the Dockerfiles set, and a port that is free."""
    text = (DEPLOY / "Dockerfile").read_text()
    variables = dict(re.findall(r"(SWITCHYARD_[A-Z_]+)=(\S+)", text[text.index("ENV SWITCHYARD"):]))
    variables["SWITCHYARD_MODEL"] = str(harness.MODEL)
    refused = harness.run("serve", "--check", environment=variables)
    assert refused.returncode == 2 and "api-key" in refused.stderr, refused.stderr
    accepted = harness.run("serve", "--check", environment={**variables, "SWITCHYARD_API_KEY": "k" * 32})
    assert accepted.returncode == 0, accepted.stderr


def run_example(*command, limit=harness.PATIENCE):
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=limit)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_python_examples_print_what_the_model_says(server):
    examples = DEPLOY / "examples"
    answer = run_example(sys.executable, examples / "openai_client.py", f"{server.url}/v1", "What is 12 + 7?")
    assert "19" in answer
    lines = run_example(sys.executable, examples / "grpc_client.py", server.grpc_address, "In the beginning", "To be")
    assert sorted(line.split("|")[0] for line in lines.splitlines() if "|" in line) == ["In the beginning", "To be"]


def test_cpp_example_builds_by_itself_and_prints_what_the_model_says(server, tmp_path):
    run_example("cmake", "-G", "Ninja", "-S", DEPLOY / "examples/cpp", "-B", tmp_path,
                *(["-DCMAKE_CXX_COMPILER_LAUNCHER=ccache"] if shutil.which("ccache") else []))
    run_example("cmake", "--build", tmp_path, limit=10 * harness.PATIENCE)
    text = run_example(tmp_path / "generate_client", server.grpc_address, "In the beginning")
    whole = server.openai().completions.create(model=harness.NAME, prompt="In the beginning", max_tokens=32, temperature=0)
    assert text == "In the beginning" + whole.choices[0].text + "\n"
