"""A Trunkline project driven through the program's command line, as a person would."""

import email
import email.policy
import json
import pathlib
import subprocess
import time
import urllib.request

from sandbox import client_of, download

# No command of these tests takes longer, on any machine, unless it hangs.
COMMAND_LIMIT_SECONDS = 600
PIPELINE = "daily_cdr_etl"


class Project:
    """A folder with a trunkline.yaml; every call is a process of its own."""

    def __init__(self, binary, environment, folder):
        self.binary, self.environment, self.folder = binary, environment, folder

    @classmethod
    def deployed(cls, binary, environment, folder, pipelines):
        """A project in this folder with these pipelines, by name, whose `vars.root` is the folder; deployed."""
        (folder / "trunkline.yaml").write_text(f"environments:\n  local:\n    vars: {{ root: '{folder}' }}\n")
        for name, text in pipelines.items():
            home = folder / "pipelines" / name
            home.mkdir(parents=True)
            (home / "pipeline.yaml").write_text(text)
        made = cls(binary, environment, folder)
        made.call("deploy")
        return made

    def call(self, *arguments, code=0):
        """Runs a command, asserts its exit code, answers what it printed."""
        start = time.monotonic()
        done = subprocess.run(
            [str(self.binary), *map(str, arguments)],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_LIMIT_SECONDS,
        )
        said = f"$ trunkline {' '.join(map(str, arguments))}\n{done.stdout}\n{done.stderr}"
        print(f"{said}\nexit {done.returncode} after {time.monotonic() - start:.1f} s")
        assert done.returncode == code, said
        return done

    def run(self, date, code=0):
        return self.call("run", PIPELINE, "--date", date, code=code)

    def clear(self, date, *options, code=0):
        """Clears the run and sees it through."""
        return self.call("clear", f"{PIPELINE}@{date}", "--yes", *options, code=code)

    def status(self):
        return json.loads(self.call("status", "--json").stdout)

    def psql(self, statement, url=None):
        """What psql prints, asked of the store or of another database."""
        url = url or self.status()["store"]["url"]
        asked = ["psql", "-At", url, "-c", statement]
        return subprocess.run(asked, capture_output=True, text=True, timeout=60, check=True).stdout.strip()

    def private(self, name):
        """The address of a database in the private Postgres."""
        return self.status()["store"]["url"].replace("/trunkline?", f"/{name}?")

    def stop(self):
        subprocess.run(
            [str(self.binary), "stop"], cwd=self.folder, env=self.environment, capture_output=True, timeout=60
        )

    @property
    def endpoint(self):
        return self.status()["sandbox"]["endpoint"]

    def client(self, service):
        return client_of(self.endpoint, service)

    def results(self, bucket, folder):
        """Fetches the processed records by boto3; answers their folder."""
        download(self.endpoint, bucket, "processed_cdrs/", folder)
        return folder / "processed_cdrs"

    def mails(self):
        """Every mail so far as (subject, body), oldest first."""
        folder = pathlib.Path(self.status()["sandbox"]["mailbox"])
        found = []
        for path in folder.rglob("*.eml"):
            message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
            found.append((path.stat().st_mtime_ns, message["Subject"], message.get_content()))
        return [(subject, body) for _, subject, body in sorted(found)]

    def ledger(self, operation):
        """What the sandbox accepted of one operation."""
        with urllib.request.urlopen(f"{self.endpoint}/_sandbox/ledger?operation={operation}") as answer:
            return json.load(answer)

    def edit(self, path, old, new):
        """Changes a file of the project as a person would in an editor."""
        file = self.folder / path
        text = file.read_text()
        assert text.count(old) >= 1, f"{old!r} is not in {path}"
        file.write_text(text.replace(old, new))
