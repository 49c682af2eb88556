"""The local page without a browser: what it lists, what it reads while a run trains, and whom it refuses."""

from __future__ import annotations

import json
import re
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.testclient import TestClient

from rewards.core import UserError
from tests.pages import HOSTILE, right, write_evaluation, write_run
from toolkit import cli
from toolkit.config import load_recipe
from toolkit.page.render import write_report
from toolkit.rundir import Run, locked
from toolkit.stages import stages_of
from toolkit.ui import live, runs
from toolkit.ui.app import ASSETS, HEADERS, application
from toolkit.ui.asking import Asker
from toolkit.ui.runs import Shelf, card_of, state_of

HERE = "http://127.0.0.1:8050"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs, an evaluation, and what is none of them."""
    root = tmp_path_factory.mktemp("ui")
    write_run(root / "demo")
    write_run(root / "deep" / "er" / "<b>other")
    write_evaluation(root / "alone", right)
    (root / "empty").mkdir()
    (root / ".hidden").mkdir()
    shutil.copytree(root / "demo", root / ".hidden" / "run")
    return root


@pytest.fixture
def shelf(folder: Path) -> Shelf:
    return Shelf([folder])


@pytest.fixture
def client(shelf: Shelf) -> TestClient:
    app = application(shelf, Asker("scripted", {}, 40))
    return TestClient(app, base_url=HERE, raise_server_exceptions=False)


@pytest.fixture
def own(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one run that a test may change; each look is at the disk."""
    monkeypatch.setattr(runs, "FRESH", -1.0)
    shutil.copytree(folder / "demo", tmp_path / "runs" / "mine")
    return tmp_path / "runs"


def client_of(root: Path) -> TestClient:
    return TestClient(application(Shelf([root]), Asker("scripted", {}, 40)), base_url=HERE)


def ids(shelf: Shelf) -> dict[str, str]:
    return {each.name: each.id for each in shelf.entries()}


# the list


def test_runs_and_evaluations_are_found_below_a_folder(shelf: Shelf) -> None:
    assert [(each.name, each.kind) for each in shelf.entries()] == [
        ("<b>other", "run"),
        ("alone", "evaluation"),
        ("demo", "run"),
    ]


def test_a_new_run_appears_by_itself(own: Path) -> None:
    shelf = Shelf([own])
    before = ids(shelf)
    write_evaluation(own / "second", right)
    assert ids(shelf).keys() - before.keys() == {"second"}
    assert ids(shelf)["mine"] == before["mine"], "its address stays"


def test_a_link_out_of_the_folder_is_no_run(own: Path, folder: Path) -> None:
    (own / "linked").symlink_to(folder / "demo")
    assert list(ids(Shelf([own]))) == ["mine"]


def test_the_list_shows_rates_and_verdicts_as_text(client: TestClient) -> None:
    page = client.get("/").text
    assert page.count('<li class="run') == 3
    assert "90.0%" in page
    assert "better, +90.0 points" in page
    assert "&lt;b&gt;other" in page
    assert "<b>other" not in page


def test_the_list_is_sent_again_only_when_it_changed(own: Path) -> None:
    client = client_of(own)
    stamp = client.get("/list").json()["list"]["stamp"]
    assert "html" not in client.get("/list", params={"list": stamp}).json()["list"]
    write_evaluation(own / "second", right)
    assert "second" in client.get("/list", params={"list": stamp}).json()["list"]["html"]


def test_a_broken_run_leaves_the_others(own: Path) -> None:
    shutil.copytree(own / "mine", own / "broken")
    (own / "broken" / "recipe.yaml").write_text("taks: x\n", encoding="utf-8")
    client = client_of(own)
    page = client.get("/").text
    assert "unknown key" in page or "taks" in page
    assert "better, +90.0 points" in page
    (own / "broken" / "recipe.yaml").write_text("task: [", encoding="utf-8")
    assert "broken YAML" in client.get("/").text


def test_where_a_run_stands(own: Path) -> None:
    run = Run(own / "mine", load_recipe(own / "mine" / "recipe.yaml"))
    stages = stages_of(run.recipe)
    shutil.rmtree(run.dir / "stages")
    assert state_of(run).startswith("not begun: `toolkit run` starts with data")
    (run.dir / "stages").mkdir()
    for stage in stages[: stages.index("grpo")]:
        run.finish(stage, 1.0)
    assert state_of(run).startswith("stopped: grpo is next, step 4 of 4")
    with locked(run.dir):
        assert state_of(run) == f"running: grpo, step 4 of 4 ({stages.index('grpo')} of {len(stages)} stages done)"
        assert card_of(Shelf([own]).entries()[0]).running
    assert not card_of(Shelf([own]).entries()[0]).running
    for stage in stages:
        run.finish(stage, 1.0)
    assert state_of(run) == "done"


# a run's page


def parts(client: TestClient, entry_id: str, **known: str) -> dict[str, Any]:
    answer = client.get(f"/run/{entry_id}/live", params=known)
    assert answer.status_code == 200
    found: dict[str, Any] = answer.json()
    return found


def test_a_run_has_its_state_curves_and_comparison(client: TestClient, shelf: Shelf) -> None:
    entry_id = ids(shelf)["demo"]
    page = client.get(f"/run/{entry_id}").text
    assert "Samples during training" in page
    found = parts(client, entry_id)
    assert "stopped: data is next" in found["status"]["html"]
    assert found["curves"]["html"].count("<svg") == 4
    assert "every group is dead &lt;b&gt;" in found["curves"]["html"]
    assert "SFT+GRPO is better than base" in found["results"]["html"]
    assert "Exact, from stage to stage" in found["results"]["html"]
    assert "54 gained, the first 10" in found["results"]["html"]
    assert right(1).replace("<", "&lt;").replace(">", "&gt;") in found["results"]["html"]


def test_nothing_of_a_run_is_markup(client: TestClient, shelf: Shelf) -> None:
    for entry_id in ids(shelf).values():
        found = parts(client, entry_id)
        html = client.get(f"/run/{entry_id}").text + "".join(part["html"] for part in found.values())
        assert "<script>window" not in html
        assert "<img" not in html
        assert "<b>" not in html
    assert "&lt;script&gt;window.owned" in parts(client, ids(shelf)["demo"])["results"]["html"], "it was there"


def test_only_what_changed_is_sent(own: Path) -> None:
    client = client_of(own)
    entry_id = ids(Shelf([own]))["mine"]
    known = {name: part["stamp"] for name, part in parts(client, entry_id).items()}
    assert all("html" not in part for part in parts(client, entry_id, **known).values())
    with (own / "mine" / "sft" / "log.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": 21, "loss": 0.0625}) + "\n")
    (own / "mine" / "grpo" / "held_out.jsonl").write_text(
        '{"step": 2, "exact": 0.5, "format": 1.0}\n', encoding="utf-8"
    )
    found = parts(client, entry_id, **known)
    assert "training, last 0.0625" in found["curves"]["html"]
    assert "GRPO: held-out examples" in found["curves"]["html"]
    assert "exact, last 50%" in found["curves"]["html"]
    assert "html" not in found["results"]
    assert "html" not in found["status"]
    shutil.rmtree(own / "mine" / "eval" / "tuned")
    write_evaluation(own / "mine" / "eval" / "tuned", right)
    (own / "mine" / "comparison.json").unlink()
    assert "+100.0 points" in parts(client, entry_id, **known)["results"]["html"]


def test_a_broken_file_is_named_and_leaves_the_rest_of_the_page(own: Path) -> None:
    (own / "mine" / "eval" / "sft" / "summary.json").write_text("{oops", encoding="utf-8")
    found = parts(client_of(own), ids(Shelf([own]))["mine"])
    for name in ("status", "results"):
        assert "sft/summary.json: can&#39;t be read" in found[name]["html"]
    assert "<svg" in found["curves"]["html"]


def test_an_evaluation_has_a_page_without_a_box(client: TestClient, shelf: Shelf) -> None:
    entry_id = ids(shelf)["alone"]
    assert 'id="question"' not in client.get(f"/run/{entry_id}").text
    assert "a verdict takes two" in parts(client, entry_id)["results"]["html"]


def test_chosen_runs_are_compared(client: TestClient, shelf: Shelf) -> None:
    page = client.get("/compare", params={"run": [ids(shelf)["demo"], ids(shelf)["alone"]]}).text
    verdicts = re.findall(r"</span> (.+)</h3>", page)
    assert len(verdicts) == 4
    assert re.fullmatch(r"SFT\+GRPO .+ alone", verdicts[0]), "what was chosen to be compared comes first"
    assert "<script>window" not in page
    refused = client.get("/compare", params={"run": [ids(shelf)["demo"]] * 2})
    assert (refused.status_code, "two or more" in refused.json()["error"]) == (400, True)


# samples


def write_rollouts(run: Path, steps: int, length: int = 20) -> None:
    rows = [
        {
            "step": step,
            "example": f"test-{example}",
            "completion": f"{HOSTILE} {step} " + "x" * length if sample else "the same",
            "tokens": 9,
            "rewards": {"exact": float(sample == 3), "form": 0.5},
            "reward": float(sample == 3) + 0.05,
        }
        for step in range(steps)
        for example in range(8)
        for sample in (0, 0, 3)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (run / "grpo" / "rollouts.jsonl").write_text(text + '{"torn', encoding="utf-8")
    shutil.copy(run / "data" / "test.jsonl", run / "data" / "grpo.jsonl")


@pytest.mark.parametrize("length", [20, 20_000], ids=["short", "longer-than-a-window"])
def test_samples_are_shown_from_the_first_step_to_the_newest(own: Path, length: int) -> None:
    write_rollouts(own / "mine", 9, length)
    client, entry_id = client_of(own), ids(Shelf([own]))["mine"]
    steps = [client.get(f"/run/{entry_id}/samples", params={"at": at}).json()["step"] for at in (0, 0.5, 1)]
    assert steps == [0, 4, 8]


def test_samples_of_a_step(own: Path) -> None:
    write_rollouts(own / "mine", 2)
    found = client_of(own).get(f"/run/{ids(Shelf([own]))['mine']}/samples").json()
    assert (found["step"], len(found["groups"]), found["more"]) == (1, live.GROUPS, 8 - live.GROUPS)
    first = found["groups"][0]
    assert (first["id"], first["gold"], first["question"][:10]) == ("test-0", "0", "what is 0?")
    assert [(one["reward"], one["times"]) for one in first["rollouts"]] == [(1.05, 1), (0.05, 2)]
    assert first["rollouts"][0]["parts"] == "exact 1, form 0.5"


@pytest.mark.parametrize("at", ["2", "-1", "nan", "x"])
def test_a_place_outside_of_the_training_is_refused(client: TestClient, shelf: Shelf, at: str) -> None:
    answer = client.get(f"/run/{ids(shelf)['demo']}/samples", params={"at": at})
    assert (answer.status_code, "from 0 to 1" in answer.json()["error"]) == (400, True)
    assert client.get(f"/run/{ids(shelf)['demo']}/samples").json()["step"] is None


# the report


def test_the_report_is_served_as_it_is_and_on_its_own(own: Path) -> None:
    client, entry_id = client_of(own), ids(Shelf([own]))["mine"]
    missing = client.get(f"/run/{entry_id}/report")
    assert (missing.status_code, "toolkit report" in missing.json()["error"]) == (404, True)
    report = write_report([own / "mine"])
    answer = client.get(f"/run/{entry_id}/report")
    assert answer.content == report.read_bytes()
    policy = answer.headers["content-security-policy"]
    assert policy.startswith("sandbox allow-scripts; default-src 'none'")
    assert "allow-same-origin" not in policy
    assert f'href="/run/{entry_id}/report"' in parts(client, entry_id)["status"]["html"]


# who is let in


@pytest.mark.parametrize("file", ["report.html", "grpo/rollouts.jsonl", "eval/base/records.jsonl"])
def test_what_a_link_leads_to_is_not_served(own: Path, tmp_path: Path, file: str) -> None:
    secret = tmp_path / "secret"
    secret.write_text('{"step": 0, "completion": "secret"}\n', encoding="utf-8")
    path = own / "mine" / file
    path.unlink(missing_ok=True)
    path.symlink_to(secret)
    client, entry_id = client_of(own), ids(Shelf([own]))["mine"]
    for address in ("", "/live", "/samples", "/report"):
        answer = client.get(f"/run/{entry_id}{address}")
        assert '"secret"' not in answer.text
        assert "outside the run directory" in answer.text


@pytest.mark.parametrize(
    "path",
    [
        "/run/%2e%2e%2fpasswd", "/run/0123456789ab/report", "/static/..%2frender.py", "/run/%2e%2e%2f%2e%2e%2fetc",
        "/static/render.py", "/static/ui_run.html.jinja", "/etc/passwd", "/run/x/recipe.yaml",
    ],
)  # fmt: skip
def test_no_other_path_is_served(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8050", "127.0.0.1.evil.example", "0.0.0.0", "", "x@y"])
def test_another_host_is_refused(client: TestClient, host: str) -> None:
    for path in ("/", "/list", "/static/ui.js"):
        assert client.get(path, headers={"host": host}).status_code == 400
    assert client.post("/ask", json={}, headers={"host": host}).status_code == 400


@pytest.mark.parametrize("host", ["127.0.0.1:8050", "localhost:9", "LOCALHOST", "127.0.0.1"])
def test_this_machine_is_let_in_by_any_port(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"host": host}).status_code == 200


def test_every_answer_bears_the_headers(client: TestClient, shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [client.get(path) for path in ("/", "/nothing", "/list", "/static/ui.js", f"/run/{ids(shelf)['demo']}")]
    answers.append(client.get("/", headers={"host": "evil.example"}))
    monkeypatch.setattr(live, "samples", lambda *_: 1 / 0)
    answers.append(client.get(f"/run/{ids(shelf)['demo']}/samples"))
    assert [answer.status_code for answer in answers] == [200, 404, 200, 200, 200, 400, 500]
    for answer in answers:
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
    assert answers[-1].json()["error"].startswith("the page failed: ZeroDivisionError")


def test_pages_have_no_script_or_style_of_their_own(client: TestClient, shelf: Shelf) -> None:
    for path in ("/", f"/run/{ids(shelf)['demo']}", "/run/none"):
        page = client.get(path, headers={"accept": "text/html"}).text
        assert "<style" not in page
        assert page.count("<script") == page.count("<script src=") == 2
        assert "://" not in page
        assert " style=" not in page
        assert " onclick" not in page


def test_scripts_and_styles_load_nothing_from_elsewhere(client: TestClient) -> None:
    for name, kind in ASSETS.items():
        answer = client.get(f"/static/{name}")
        assert answer.headers["content-type"].startswith(kind)
        assert "://" not in answer.text
        assert "@import" not in answer.text


def test_an_error_is_a_page_for_a_person_and_json_for_a_script(client: TestClient) -> None:
    page = client.get("/run/gone", headers={"accept": "text/html,*/*"})
    assert (page.status_code, "<h1>That didn&#39;t work</h1>" in page.text) == (404, True)
    assert "no such run" in page.text
    assert client.get("/run/gone").json() == {"error": "no such run here; the list has those that there are"}


# the command


def run_cli(*arguments: object) -> int:
    with pytest.raises(SystemExit) as end:
        cli.main(["ui", *map(str, arguments)])
    return int(end.value.code or 0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["gone"], "gone: no such directory"),
        (["."], "no run and no finished evaluation in ."),
        ([".", "--engine", "peer:duckling"], "answered by one of: transformers, vllm, scripted"),
        ([".", "--option", "dtype"], "write KEY=VALUE"),
    ],
)
def test_what_the_command_refuses(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOOLKIT_CACHE", str(tmp_path / ".cache"))
    assert run_cli(*arguments) == 2
    assert said in capfd.readouterr().err


def test_a_taken_port_is_named(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TOOLKIT_CACHE", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert run_cli(folder, "--engine", "scripted", "--port", port) == 2
    assert f"port {port} can't be had" in capfd.readouterr().err


def test_a_run_of_another_kind_has_no_recipe(shelf: Shelf) -> None:
    entry = next(each for each in shelf.entries() if each.kind == "evaluation")
    with pytest.raises(UserError, match="an evaluation, not a run"):
        entry.run()


def test_a_recipe_of_pages_is_a_recipe(folder: Path) -> None:
    """What these tests rest on: the made-up run's recipe is one that the toolkit reads."""
    assert yaml.safe_load((folder / "demo" / "recipe.yaml").read_text(encoding="utf-8"))["task"] == "echo"
    assert load_recipe(folder / "demo" / "recipe.yaml").task == "echo"
