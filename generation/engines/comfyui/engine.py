"""The `comfyui` engine: an art director's own workflow, on one or several ComfyUI servers.

Product: ComfyUI 0.38 and older (https://docs.comfy.org/development/comfyui-server/comms_routes). A submission uses our
own prompt id, the marker, so that it is found after a lost answer. Its file names contain the job's id, because ComfyUI
does not run an equal graph again. Polling decides; the websocket only reports progress.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import uuid
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from threading import Lock
from typing import Any, Final

from generation.engines import base
from generation.engines.base import SCENE, Context, Control, EngineError, ErrorKind, Result, Spec, Submitted, Task
from generation.engines.comfyui import answers
from generation.engines.comfyui.config import Config
from generation.engines.comfyui.graph import FOLDER, JOB_MARKS, PROMPT_MARKS, SIZE_MARKS, Mark, Range, Workflow
from generation.engines.comfyui.progress import ProgressListener
from generation.engines.comfyui.questions import questions
from generation.engines.comfyui.servers import Server, Submission, credentials
from generation.engines.service import as_list, as_mapping, parse_json, pixels_of

NO_WORKFLOW: Final = "It has no workflow yet: upload one, exported in API format, on the endpoint's page."
LABELS: Final = {"prompt": "Prompt", "negative": "Negative prompt", "seed": "Seed"}
ON_DISK: Final = "found_on_disk"
"""The fact of an image whose job the server had forgotten; it was found by its file name."""
MAX_CANCELLED_KEPT: Final = 4096


class ComfyUI:
    """One workflow on the servers of an endpoint; see config.py. The secret is a bearer token or "user:password"."""

    name = "comfyui"
    can_find_submissions = True

    def __init__(self, config: Mapping[str, Any]) -> None:
        self.config = Config.read(config)
        self.workflow = Workflow.from_config(config)
        unsettled = (question for question in questions(self.workflow, config) if not question.is_confirmed)
        self.open_questions = tuple(question.sentence for question in unsettled)
        self.settle_seconds = self.config.settle_seconds
        self.poll_seconds = self.config.poll_seconds
        headers = {name: str(value) for name, value in self.config.headers.items()} | credentials(self.config.secret)
        timeout_seconds, ca = self.config.timeout_seconds, self.config.ca
        self.servers = [
            Server(address, headers=headers, timeout_seconds=timeout_seconds, ca=ca) for address in self.config.servers
        ]
        self._turn = 0
        self.progress_listener = ProgressListener(str(uuid.uuid4()), headers=headers, ca=ca)
        self._guard = Lock()
        self._cancelled_ids: deque[str] = deque(maxlen=MAX_CANCELLED_KEPT)

    def capabilities(self) -> base.Capabilities:
        marks = self.workflow.marks
        roles = frozenset(mark.name for mark in self.workflow.images)
        obeyed = {mark.name for mark in marks.values() if not mark.is_image} | (roles & {SCENE})
        obeyed -= set(SIZE_MARKS)
        return base.Capabilities(
            is_remote=True,
            obeys=frozenset(obeyed),
            controls=tuple(self._control(mark) for mark in marks.values() if mark.name in obeyed),
            needs_images=roles,
            obeys_prompt="prompt" in marks,
            max_width=self.config.max_side,
            max_height=self.config.max_side,
            size_multiple=self.config.size_multiple,
            open_questions=self.open_questions,
        )

    def validate(self, spec: Spec) -> list[str]:
        return [*self.open_questions, *self._problems(spec)]

    def _problems(self, spec: Spec) -> list[str]:
        """Return one spec's problems, without unsettled questions: jobs planned before them are still made."""
        if not self.workflow.graph:
            return [NO_WORKFLOW]
        missing = [mark.name for mark in self.workflow.images if mark.name not in spec.images]
        problems = [f"This workflow needs an image “{name}”." for name in missing]
        parameter_names = {mark.name for mark in self.workflow.parameters}
        for name, value in sorted(spec.parameters.items()):
            if name == SCENE and SCENE in self.workflow.marks:
                continue
            if name not in parameter_names:
                marked = ", ".join(sorted(parameter_names)) or "none"
                problems.append(f"No input of this workflow is marked as {name!r}; parameters marked: {marked}.")
            elif value not in ("", None):
                try:
                    self.workflow.cast(name, value)
                except ValueError as error:
                    problems.append(str(error))
        return problems

    def batch_key(self, spec: Spec) -> str:
        return f"{self.workflow.digest()[:16]} {spec.width}x{spec.height}"[:32]

    def model_identity(self) -> tuple[str, str]:
        revision = self.workflow.digest()
        if model_files := self.config.model_files:  # kept by the check; docs/engines.md
            revision += f"+{hashlib.sha256(json.dumps(model_files, sort_keys=True).encode()).hexdigest()[:12]}"
        return f"comfyui workflow {self.workflow.name or 'without a name'}", revision

    def quote(self, spec: Spec) -> base.Quote:
        return base.Quote.from_config(self.config, seconds=10.0)

    def _control(self, mark: Mark) -> Control:
        label = LABELS.get(mark.name, mark.name.replace("_", " ").capitalize())
        if mark.name in (SCENE, "seed"):
            return Control(mark.name, label, mark.name)
        if mark.name in PROMPT_MARKS:
            return Control(mark.name, label, "text")
        limits, standard = self.workflow.ranges.get(mark.name, Range()), self.workflow.own_value(mark.name)
        if limits.choices:
            return Control(mark.name, label, "choice", standard, choices=limits.choices)
        if isinstance(standard, bool):
            return Control(mark.name, label, "choice", str(standard).lower(), choices=("true", "false"))
        if isinstance(standard, int | float):
            return Control(mark.name, label, "number", standard, limits.minimum, limits.maximum, limits.step)
        return Control(mark.name, label, "text", standard)

    def health(self) -> base.Health:
        """Check that every server is up and has each node, model and value that the workflow names."""
        if not self.workflow.graph:
            return base.Health(False, NO_WORKFLOW)
        with ThreadPoolExecutor(len(self.servers)) as threads:
            reports = list(threads.map(self._inspect, self.servers))
        by_server = dict(zip((server.name for server in self.servers), reports, strict=True))
        lacking = [
            sentence if sentence.startswith(name) else f"{name}: {sentence}"
            for name, report in by_server.items()
            for sentence in report["problems"]
        ]
        ready = sum(report["is_ok"] for report in reports)
        counted = f"{ready} of {len(by_server)} server{'s' if len(by_server) != 1 else ''} can run this workflow."
        message = " ".join([counted, *lacking, *self.open_questions])
        facts = {"servers": by_server, "workflow": self.workflow.digest()}
        return base.Health(ready > 0 and not self.open_questions, message, facts)

    def _inspect(self, server: Server) -> dict[str, Any]:
        """Return the state of one server and the values that it allows for the marked inputs."""
        try:
            stats = server.get_json("system_stats")
            schema = server.schema(sorted({node["class_type"] for node in self.workflow.graph.values()}))
        except EngineError as error:
            return {"is_ok": False, "problems": [error.message], "ranges": {}}
        problems = answers.schema_problems(self.workflow, schema)
        ranges = {name: limits.to_json() for name, limits in answers.ranges_of(self.workflow, schema).items()}
        try:
            models = server.model_states(set(self.workflow.models.values()))
        except EngineError:
            models = {}
        version = str(as_mapping(stats.get("system")).get("comfyui_version") or "")
        names = {"name": "name", "total_bytes": "vram_total", "free_bytes": "vram_free"}
        devices = [
            {ours: device.get(theirs) for ours, theirs in names.items()}
            for device in as_list(stats.get("devices"))
            if isinstance(device, Mapping)
        ]
        report = {"is_ok": not problems, "problems": problems, "ranges": ranges, "models": models}
        return {**report, "version": version, "devices": devices}

    def submit(self, task: Task, marker: str, context: Context) -> Submitted:
        """Submit to the least busy server. Servers that cannot be reached or lack a model are skipped."""
        if problems := self._problems(task.spec):
            raise EngineError(ErrorKind.INPUT, " ".join(problems))
        last: EngineError | None = None
        for server in self._servers_by_load():
            try:
                return self._submit(server, task, marker, context)
            except answers.WorkflowRefused as error:
                if not error.types or error.types - answers.MISSING_ON_SERVER or len(self.servers) == 1:
                    raise
                server.mark_lacking(error.message)
                last = error
            except EngineError as error:
                if error.kind is not ErrorKind.TRANSIENT:
                    raise
                last = error
        raise last or self._no_server_error()

    def _find_server(self, name: str) -> Server | None:
        return next((server for server in self.servers if server.name == name), None)

    def _servers_by_load(self) -> list[Server]:
        """Return the servers that can take a submission, the least busy first; equally busy ones take turns."""
        self._turn += 1
        turn = self._turn % len(self.servers)
        turned = self.servers[turn:] + self.servers[:turn]
        depths = [(depth, server) for server in turned if (depth := server.queue_length()) is not None]
        return [server for _, server in sorted(depths, key=lambda pair: pair[0])]

    def _no_server_error(self) -> EngineError:
        lacking = [server.lacking_reason for server in self.servers if server.lacking_reason]
        away = [server.away_error for server in self.servers if server.away_error is not None]
        reason = " ".join([*lacking, *(error.message for error in away)])
        if away:
            is_quota = all(error.kind == ErrorKind.QUOTA for error in away)
            return EngineError(ErrorKind.QUOTA if is_quota else ErrorKind.TRANSIENT, reason, is_unsent=True)
        kind = ErrorKind.ENDPOINT if lacking else ErrorKind.TRANSIENT
        return EngineError(kind, reason or "No server is ready yet.", is_unsent=not lacking)

    def _submit(self, server: Server, task: Task, marker: str, context: Context) -> Submitted:
        try:
            return self._submit_graph(server, task, marker, context)
        except answers.WorkflowRefused as error:
            # An input image that we uploaded earlier is gone: the input folder was cleared. Nothing was started.
            roles = {place[0] for mark in self.workflow.images for place in mark.places}
            if not (error.types & answers.INPUT_IMAGE_MISSING and error.node_ids & roles):
                raise
            server.forget_inputs()
            return self._submit_graph(server, task, marker, context)

    def _ensure_same_models(self, server: Server) -> None:
        """Raise EngineError of kind CHANGED if a model file has changed since the workflow was checked."""
        checked_states: dict[str, str] = dict(self.config.model_files or {}).get(server.name) or {}
        current_states = server.model_states(checked_states) if checked_states else {}
        if changed := sorted(name for name in current_states if current_states[name] != checked_states[name]):
            message = f"{server.name} has another file under the name {', '.join(changed)} than when this was planned."
            raise EngineError(ErrorKind.CHANGED, f"{message} Check the workflow again, then plan these again.")

    def _submit_graph(self, server: Server, task: Task, marker: str, context: Context) -> Submitted:
        self._ensure_same_models(server)
        values = self._values(task.spec)
        for mark in self.workflow.images:
            values[mark.name] = server.input_name(task.spec.images[mark.name], context.load)
        self.progress_listener.watch(server.service.base_url)
        submission = Submission(marker, server.name, str(task.id))
        graph = self.workflow.fill(values, f"{FOLDER}/{submission.file_stem}")
        response = server.submit(graph, marker, self.progress_listener.client_id)
        if response.status_code != 200:
            raise answers.refusal_error(response, self.workflow, server.name)
        try:
            taken = parse_json(response, server.name)
            prompt_id = str(taken["prompt_id"])
        except (EngineError, KeyError, TypeError) as error:
            message = f"{server.name} answered the submission with something else than its id."
            raise EngineError(ErrorKind.UNCERTAIN, message, log=response.text[:4000]) from error
        left_out, output_node = taken.get("node_errors") or {}, self.workflow.output_node
        dropped = {*left_out}.union(*(as_mapping(node).get("dependent_outputs") or () for node in left_out.values()))
        if left_out and (not self.config.allow_partial or output_node in dropped):
            with contextlib.suppress(EngineError):
                server.cancel(prompt_id)  # otherwise it runs the rest, which nobody needs
            opening, log = f"{server.name} would run only a part of the workflow. ", str(dict(left_out))[:4000]
            raise answers.node_errors_refusal(left_out, self.workflow, server.name, log, opening=opening)
        return Submitted(str(replace(submission, prompt_id=prompt_id)))

    def _values(self, spec: Spec) -> dict[str, Any]:
        values: dict[str, Any] = {name: getattr(spec, name) for name in JOB_MARKS if name in self.workflow.marks}
        if "seed" in values:
            values["seed"] = self.workflow.fold_seed(spec.seed)
        for mark in self.workflow.parameters:
            if (given := spec.parameters.get(mark.name)) not in ("", None):
                values[mark.name] = self.workflow.cast(mark.name, given)
        return values

    def find(self, task: Task, marker: str, since: datetime, taken: Collection[str]) -> str | None:
        """Ask every server. One that is away may have it; after `lost_after_seconds` it counts as not having it."""
        unasked: EngineError | None = None
        for server in self.servers:
            submission = Submission(marker, server.name, str(task.id))
            try:
                prompt_id = server.find(marker) or (marker if server.has_file(submission.image) else None)
            except EngineError as error:
                unasked = error
                continue
            if prompt_id is not None:
                return str(replace(submission, prompt_id=prompt_id))
        if unasked is not None and (datetime.now(UTC) - since).total_seconds() < self.config.lost_after_seconds:
            raise unasked
        return None

    def poll(self, remote_ids: Sequence[str]) -> dict[str, base.Pending | Result]:
        by_server: dict[str, list[str]] = {}
        for remote_id in remote_ids:
            by_server.setdefault(Submission.parse(remote_id).server, []).append(remote_id)
        states: dict[str, base.Pending | Result] = {}
        unasked: EngineError | None = None
        for name, ids in by_server.items():
            if (server := self._find_server(name)) is None:
                states |= dict.fromkeys(ids, self._lost_result(f"{name} is no longer a server of this endpoint."))
                continue
            try:
                states |= self._poll(server, ids)
            except EngineError as error:
                unasked = error
                if server.away_seconds() >= self.config.lost_after_seconds:
                    lost = self._lost_result(f"{name} has been away for too long: {error.message}")
                    states |= dict.fromkeys(ids, lost)
        if unasked is not None and not states:
            raise unasked
        return states

    def _poll(self, server: Server, remote_ids: Sequence[str]) -> dict[str, base.Pending | Result]:
        by_prompt = {Submission.parse(remote_id).prompt_id: remote_id for remote_id in remote_ids}
        self.progress_listener.watch(server.service.base_url)
        states: dict[str, base.Pending | Result] = {}
        for prompt_id, state in server.job_states(by_prompt).items():
            remote_id = by_prompt[prompt_id]
            if isinstance(state, base.Pending):
                step, steps = self.progress_listener.get_progress(prompt_id)
                states[remote_id] = replace(state, step=step, steps=steps)
            elif state is None:
                states[remote_id] = self._result_from_disk(server, Submission.parse(remote_id))
            else:
                states[remote_id] = self._result_of_job(server, prompt_id, state)
        return states

    def _result_from_disk(self, server: Server, submission: Submission) -> Result:
        """Return the result of a job that a server has forgotten: the image if its file is there, else LOST."""
        if not server.has_file(submission.image):
            message = f"{server.name} does not know this image any more: it was restarted, or its history cleared."
            return self._lost_result(message, submission.prompt_id)
        named = {"server": server.name, "prompt_id": submission.prompt_id}
        facts = {**named, "models": self.workflow.models, ON_DISK: True}
        return replace(self._result(), usage={"images": 1}, facts=facts, outputs=(server.image_url(submission.image),))

    def _result_of_job(self, server: Server, prompt_id: str, job: Mapping[str, Any]) -> Result:
        status = job.get("status")
        if status == "cancelled":
            return self._lost_result(f"Somebody stopped this image on {server.name}.", prompt_id)
        if status == "failed":
            return self._result(answers.execution_failure(job.get("execution_error"), self.workflow.graph, server.name))
        if (saved := answers.find_image(job, self.workflow)) is None:
            where = self.workflow.title(self.workflow.output_node)
            message = f"{server.name} ended the workflow, but {where} saved no image."
            return self._result(EngineError(ErrorKind.INPUT, message, log=str(job.get("outputs"))[:4000]))
        image, made = saved
        seconds = answers.work_seconds(job)
        facts = {"server": server.name, "prompt_id": prompt_id, "models": answers.models_of_job(job, self.workflow)}
        if made > 1:
            facts["left_out"] = f"{made - 1} further images of the workflow's batch"
        return replace(
            self._result(),
            seed=answers.seed_of(answers.graph_of(job), self.workflow),
            seconds=seconds,
            usage={"images": 1, "seconds": seconds},
            facts=facts,
            outputs=(server.image_url(image),),
        )

    def _result(self, error: EngineError | None = None) -> Result:
        return Result(0, None, *self.model_identity(), error=error)

    def _lost_result(self, message: str, prompt_id: str = "") -> Result:
        with self._guard:
            ours = prompt_id in self._cancelled_ids
        if ours:
            return self._result(EngineError(ErrorKind.CANCELLED, "Given up before it was finished."))
        return self._result(EngineError(ErrorKind.LOST, message))

    def fetch(self, result: Result, context: Context) -> Result:
        """Return the result with the image that the server saved. A missing file is LOST: it has to be made again."""
        if not result.outputs:
            raise EngineError(ErrorKind.LOST, "There is no address of the image.")
        url = result.outputs[0]
        server = next((server for server in self.servers if url.startswith(server.service.base_url)), None)
        if server is None:
            raise EngineError(ErrorKind.LOST, "The image lies on a server that is no longer one of this endpoint.")
        data = server.service.download(url)
        try:
            pixels = pixels_of(data)
        except EngineError as error:
            if ON_DISK not in result.facts:
                raise
            message = f"{server.name} stopped while it was writing this image."  # fetching it again does not help
            raise EngineError(ErrorKind.LOST, message, log=error.message) from error
        if ON_DISK in result.facts:
            result = replace(result, seed=answers.seed_of(answers.graph_in_file(data), self.workflow))
        facts = {**result.facts, "size": [pixels.shape[1], pixels.shape[0]]}
        return replace(result, pixels=pixels, facts=facts, outputs=())

    def cancel(self, remote_id: str) -> None:
        submission = Submission.parse(remote_id)
        with self._guard:
            self._cancelled_ids.append(submission.prompt_id)
        if server := self._find_server(submission.server):
            server.cancel(submission.prompt_id)
