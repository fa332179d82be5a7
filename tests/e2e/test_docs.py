#!/usr/bin/env python3
"""What the documents tell people to type: every flag exists, and the commands do what they promise."""

import glob
import os
import re
import shlex
import shutil
import subprocess
import tempfile

from harness import DIGITS, PORT, ROOT, SERVER4, Gateway, Net, Repository, main, program, run

PAGES = sorted(glob.glob(f"{ROOT}/docs/*.md") + glob.glob(f"{ROOT}/docs/man/*") + [f"{ROOT}/README.md"])
COMMAND = re.compile(r"(?:    |\.Dl )?((?:flipgate|flipgated|flipgate-pack) .*)")


def commands(path):
    """The command lines of a page, without their remarks; what goes on in the next line is one."""
    with open(path) as file:
        text = file.read().replace("\\e\n", " ").replace("\\\n", " ")
    for line in text.splitlines():
        found = COMMAND.fullmatch(line)
        if found and (path[-2:] in (".1", ".8") or line.startswith("    ")):
            yield from (part for part in re.split(r" && | \| ", re.sub(r"\s+# .*", "", found[1]))
                        if part.startswith("flipgate"))


def verbs():
    text = run(program("flipgate"), "--help").stdout
    return {verb: run(program("flipgate"), verb, "--help").stdout
            for verb in re.findall(r"^  ([a-z]+)  ", text, re.M)}


def every_flag_exists():
    helps, seen = verbs(), 0
    daemon = run(program("flipgated"), "--help").stdout
    pack = run(program("flipgate-pack"), "--help").stdout
    lines = [(page, line) for page in PAGES for line in commands(page)]
    lines += [(f"flipgate {verb} --help", line.strip()) for verb, text in helps.items()
              for line in text.splitlines() if line.startswith("  flipgate ")]
    for page, line in lines:
        words = line.split()
        text = daemon if words[0] == "flipgated" else pack
        if words[0] == "flipgate":
            assert words[1] in helps or words[1].startswith("-"), (page, line)
            text = helps.get(words[1], "--help --version")
        for flag in re.findall(r"(?<= )--[a-z][a-z0-9-]*", line):
            assert flag in text, (page, line, flag)
            seen += 1
    assert seen > 40, seen


def playground(folder):
    """What the pages' names stand for: models and rows of the test data."""
    os.chmod(folder, 0o755)
    shutil.copytree(f"{DIGITS}/2", f"{folder}/new")
    shutil.copytree(f"{DIGITS}/1", f"{folder}/build/fraud")  # of the same scores as what it follows
    shutil.copytree(DIGITS, f"{folder}/models/digits")
    shutil.copy(f"{DIGITS}/1/model.onnx", folder)
    shutil.copy(f"{DIGITS}/inputs.npy", folder)
    shutil.copy(f"{DIGITS}/reference_1.npy", f"{folder}/outputs.npy")
    shutil.copy(sorted(glob.glob(f"{ROOT}/tests/data/keras/**/*.keras", recursive=True))[0],
                f"{folder}/model.keras")
    with open(f"{folder}/rows.csv", "w") as file:
        file.write("\n".join(",".join(str((row * 7 + col) % 17) for col in range(64))
                             for row in range(3)) + "\n")


class Shell:
    """Runs command lines as a person would, in a folder of its own."""

    def __init__(self, folder, net=None, gateway=None):
        self.folder, self.net, self.gateway, self.helps = folder, net, gateway, verbs()

    def __call__(self, line, **changes):
        for old, new in changes.items():
            line = line.replace({"address": "10.0.0.1:9000", "hold": "--hold 10m",
                                 "short": "--hold 30s"}[old], new)
        words = line.split(" ", 2)
        if self.gateway and "--socket" in self.helps.get(words[1], ""):
            line = " ".join([*words[:2], "--socket", self.gateway.socket, *words[2:]])
        argv = ["sh", "-c", line]
        return subprocess.run(self.net.command(self.net.cl, argv) if self.net else argv,
                              cwd=self.folder, capture_output=True, text=True, timeout=90,
                              env={**os.environ, "PATH": f"{os.path.dirname(program('flipgate'))}:"
                                                         f"{os.environ['PATH']}"})


def expect(done, *words):
    assert done.returncode == 0, (done.args, done.returncode, done.stdout, done.stderr)
    for word in words:
        assert word in done.stdout, (done.args, word, done.stdout)


def the_first_five_minutes():
    """README's commands, in their order; then those of the operators' page."""
    readme = [line for line in commands(f"{ROOT}/README.md") if line.startswith("flipgate ")]
    pages = [line for line in commands(f"{ROOT}/docs/operations.md") if line.startswith("flipgate ")]
    assert [line.split()[1] for line in readme] == [
        "infer", "status", "history", "publish", "rollout", "rollback"], readme
    assert [line.split()[1] for line in pages] == [
        "publish", "promote", "rollback", "rollout", "shadow", "status", "shadow", "reload"], pages
    repository = Repository()
    repository.publish(1, model="fraud")
    with tempfile.TemporaryDirectory(prefix="fgt-docs-") as folder, Net() as net:
        playground(folder)
        with Gateway(net, repository) as gateway:
            shell = Shell(folder, net, gateway)
            expect(shell(readme[0], address=f"{SERVER4}:{PORT}"), "argmax")
            expect(shell(readme[1]), "fraud")
            expect(shell(readme[2]), "fraud")
            expect(shell(readme[3]), "version 2")
            gateway.wait_live(2, model="fraud")
            expect(shell(readme[4], short="--hold 300ms"))
            expect(shell(readme[5]))
            assert gateway.live() == {"fraud": 1}
            expect(shell(pages[0]), "version 7", "live")
            expect(shell(pages[1]))
            expect(shell(pages[2]))
            assert gateway.live() == {"fraud": 1}
            expect(shell(pages[4]))
            expect(shell(pages[5]), "shadow")
            expect(shell(pages[6]))
            process = subprocess.Popen(
                net.command(net.cl, [program("flipgate"), "load", f"{SERVER4}:{PORT}", "fraud", "--input",
                                     f"{DIGITS}/inputs.npy", "--duration", "60", "--rate", "4000", "--flows",
                                     "400", "--flow-requests", "20", "--sleep"]),
                stdout=subprocess.DEVNULL)
            try:
                expect(shell(pages[3], hold="--hold 300ms"))
                assert gateway.live() == {"fraud": 7}
            finally:
                process.terminate()
                process.wait()


def a_models_page():
    """docs/models.md: inspect, draw, verify."""
    lines = [line for line in commands(f"{ROOT}/docs/models.md") if line.startswith("flipgate ")]
    with tempfile.TemporaryDirectory(prefix="fgt-docs-") as folder:
        playground(folder)
        shell = Shell(folder)
        for line in lines:
            expect(shell(line))
        with open(f"{folder}/model.svg") as file:
            assert "</svg>" in file.read()


def the_start_lines_are_good():
    """What starts a gateway says so of a host that has what it names."""
    repository = Repository()
    repository.publish(1, model="fraud")
    with tempfile.TemporaryDirectory(prefix="fgt-docs-") as folder, Net() as net:
        for page in PAGES:
            for line in commands(page):
                if not line.startswith("flipgated --interface"):
                    continue
                line = line.replace("eth0", "gw0").replace("/srv/models", repository.path)
                line = line.replace("10.0.0.1:9000", f"{SERVER4}:{PORT}")
                done = subprocess.run(net.command(net.gw, [program("flipgated"), *shlex.split(line)[1:],
                                                           "--check"]),
                                      capture_output=True, text=True, cwd=folder, timeout=30)
                assert done.returncode == 0, (page, line, done.stdout, done.stderr)


main(every_flag_exists, the_first_five_minutes, a_models_page, the_start_lines_are_good)
