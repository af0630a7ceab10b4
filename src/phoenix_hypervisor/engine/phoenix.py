"""Phoenix as a library.

Owns the one class through which programs use Phoenix: the command line, reports, metrics,
Ansible.  Each method takes a request, looks at the host anew, and returns a frozen result or
raises PhoenixError.  Must not print, exit, or import anything before a method is called:
`phoenix_hypervisor` itself imports this module.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from phoenix_hypervisor.errors import PhoenixError
from phoenix_hypervisor.values import TYPE_CHECKING, replace

if TYPE_CHECKING:
    from phoenix_hypervisor.engine import ask, listed, policy_requests, requests, results
    from phoenix_hypervisor.engine.accepting import Accepted
    from phoenix_hypervisor.engine.condition import Status
    from phoenix_hypervisor.engine.denials import Denials
    from phoenix_hypervisor.engine.fleet_face import Fleet
    from phoenix_hypervisor.engine.following import Counted
    from phoenix_hypervisor.engine.importing import Imported
    from phoenix_hypervisor.engine.inspection import Checked
    from phoenix_hypervisor.engine.monitoring import Monitoring
    from phoenix_hypervisor.engine.opening import GpuAccesses
    from phoenix_hypervisor.engine.policy_sources import PolicySources
    from phoenix_hypervisor.engine.proposing import Proposed
    from phoenix_hypervisor.engine.replaying import Replay
    from phoenix_hypervisor.engine.results import Recovered
    from phoenix_hypervisor.engine.session import Session
    from phoenix_hypervisor.engine.trial_face import Trials
    from phoenix_hypervisor.engine.upgraded import Rechecked
    from phoenix_hypervisor.host.machine import Host
    from phoenix_hypervisor.plan.model import Finding, Note


def silent(event: object) -> None:
    """Tells nobody."""


@contextmanager
def told(session: Session, progress: results.Progress) -> Iterator[None]:
    """A context in which `progress` is told what is waited for."""

    def waiting(path: str, seconds: float) -> None:
        from phoenix_hypervisor.plan.codes import Code
        from phoenix_hypervisor.plan.model import Note

        # Nobody may be reading any more: that ends nothing.
        with suppress(OSError):
            progress(Note(Code.WAITING_FOR_LOCK, session.host.root.shown(path), {"seconds": round(seconds)}))

    session.host.waiting = waiting
    try:
        yield
    finally:
        session.host.waiting = None


class Phoenix:
    """One host, its configuration and its tools.

    `root`: `/`, or a directory that holds the files of a host; then no kernel is touched.
    `config`: the configuration file; profile sources and policy tests are read beside it.
    `runtime`: `proxmox` or `lxc`; None finds out.  `parser`: the apparmor_parser to use.
    `features`: the kernel features to compile for.  `command`: what the journal says was run.
    `require_signed`: a keyring by which all that is installed must be signed.
    `host`: a machine that was built already, instead of `root`.

    Nothing is read before a method is called, and each call reads anew.  Every method raises
    PhoenixError: UsageError for a request that makes no sense, ProblemsError for several
    faults at once.  Where one is raised by a method that writes, the host is as it was before,
    or the error says what is not.
    """

    def __init__(
        self,
        root: str = "/",
        config: str | None = None,
        runtime: str | None = None,
        parser: str | None = None,
        features: str | None = None,
        *,
        require_signed: str | None = None,
        command: Sequence[str] = ("python",),
        host: Host | None = None,
    ) -> None:
        from phoenix_hypervisor.engine.settings import HostSettings

        self._settings = HostSettings(
            root=root,
            config=config,
            runtime=runtime,
            parser=parser,
            features=features,
            require_signed=require_signed,
            command=tuple(command),
        )
        self._host = host

    def _session(self, *, installs: bool = False) -> Session:
        from phoenix_hypervisor.engine.session import Session

        return Session(self._settings, self._host, installs=installs)

    # The host ---------------------------------------------------------------------

    def check(self, progress: Callable[[results.Stage], None] = silent, *, quick: bool = False) -> Checked:
        """Check everything that needs no host: configuration, schema, sources, policy tests.

        With `quick` the profiles are proven for the kernel in force alone.
        """
        from phoenix_hypervisor.engine.inspection import check

        return check(self._session(installs=True), progress, quick=quick)

    def recheck(self, progress: Callable[[results.Stage], None] = silent) -> Rechecked:
        """What the installed profiles mean now, beside what was loaded; writes nothing."""
        from phoenix_hypervisor.engine.upgraded import recheck

        return recheck(self._session(), progress)

    def plan(
        self, request: requests.ApplyRequest | requests.SetupRequest | requests.RollbackRequest | None = None
    ) -> results.Planned:
        """What `apply`, `setup` or `rollback` would do with that request; None: apply all.

        Writes nothing.  What refuses everything raises what the method would raise.  What is refused of
        single containers is in the result's `refusals`, whether or not the request says `skip_refused`.
        """
        from phoenix_hypervisor.engine import requests, workflow
        from phoenix_hypervisor.engine.gather import wanted_of
        from phoenix_hypervisor.engine.recovery import judge_journal
        from phoenix_hypervisor.engine.results import Planned

        session = self._session(installs=True)
        findings = tuple(judge_journal(session))
        if isinstance(request, requests.RollbackRequest):
            from phoenix_hypervisor.engine import undo

            session.refuse_if_writable()
            entry, plan = undo.prepare(session, request)
            return Planned(plan=plan, undoes=entry.id, findings=findings)
        request = requests.ApplyRequest() if request is None else request
        wanted = replace(wanted_of(request), skip_refused=True)
        prepared = workflow.prepare(session, wanted, compare=True)
        return Planned(plan=prepared.plan, effects=prepared.effects, findings=findings)

    def setup(
        self, request: requests.SetupRequest | None = None, progress: results.Progress = silent
    ) -> results.Applied:
        """Prove, install and load the profiles, and retire deprecated ones, as one transaction."""
        from phoenix_hypervisor.engine.requests import SetupRequest

        return self._apply(SetupRequest() if request is None else request, progress)

    def apply(self, request: requests.ApplyRequest, progress: results.Progress = silent) -> results.Applied:
        """Set up, then create missing containers, assign profiles and start, as one transaction.

        A transaction that a killed run left is undone first.  `progress` is called after every
        action; its OSError is ignored, because nobody may be listening any more.
        """
        return self._apply(request, progress)

    def _apply(
        self, request: requests.ApplyRequest | requests.SetupRequest, progress: results.Progress
    ) -> results.Applied:
        from phoenix_hypervisor.engine.gather import wanted_of
        from phoenix_hypervisor.engine.recovery import recover_first
        from phoenix_hypervisor.engine.workflow import execute, prepare

        wanted = wanted_of(request)
        session = self._session(installs=True)
        with told(session, progress):
            recovered = recover_first(session, progress)
            if recovered is not None:
                progress(recovered)
            done = execute(session, wanted, prepare(session, wanted), progress)
        if done.recovered is not None:
            recovered = done.recovered
            progress(recovered)
        return done.applied(recovered)

    def status(self, request: requests.StatusRequest | None = None) -> Status:
        """What is declared, assigned and running; `as_declared` says whether they agree."""
        from phoenix_hypervisor.engine.condition import gather
        from phoenix_hypervisor.plan.chosen import read

        if request is None:
            return gather(self._session(), ())
        return gather(self._session(), read(request.ctids), strict=request.strict)

    def verify(self, request: requests.StatusRequest | None = None) -> tuple[tuple[str, Finding], ...]:
        """Everything that is not as declared: the container, profile or `host`, and what it is.

        Empty where all is as declared.  Raises NoConfiguration where nothing can be declared.
        """
        from phoenix_hypervisor.engine.requests import StatusRequest

        ctids = () if request is None else request.ctids
        return self.status(StatusRequest(ctids=ctids, strict=True)).faults

    def import_(self, request: requests.ImportRequest | None = None) -> Imported:
        """Declare the containers that stand, so that a plan finds nothing to do; writes one file at most."""
        from phoenix_hypervisor.engine.importing import run
        from phoenix_hypervisor.engine.requests import ImportRequest

        return run(self._session(), ImportRequest() if request is None else request)

    def propose(self) -> Proposed:
        """Which profile fits each container that stands, and what keeps it privileged; writes nothing."""
        from phoenix_hypervisor.engine.proposing import run

        return run(self._session())

    def gpu(self, request: requests.GpuRequest | None = None) -> GpuAccesses:
        """Who can open which GPU, and what lets each in or stops it; writes nothing."""
        from phoenix_hypervisor.engine.opening import run
        from phoenix_hypervisor.plan.chosen import read

        return run(self._session(), read(() if request is None else request.ctids))

    # Denials ----------------------------------------------------------------------

    def denials(self, request: requests.DenialsRequest | None = None) -> Denials:
        """What AppArmor denied, as the host's logs or given ones hold it."""
        from phoenix_hypervisor.engine.denials import denials
        from phoenix_hypervisor.engine.requests import DenialsRequest

        return denials(*self._watched(), DenialsRequest() if request is None else request)

    def follow_denials(self, request: requests.DenialsRequest | None = None) -> Generator[Counted]:
        """Each denial as it happens, without end: those that the logs hold are not told again."""
        from phoenix_hypervisor.engine.following import follow
        from phoenix_hypervisor.engine.requests import DenialsRequest

        return follow(*self._watched(), DenialsRequest() if request is None else request)

    def listen(
        self, ctids: tuple[str, ...], seconds: float, progress: Callable[[Note], None] = silent
    ) -> Generator[Counted]:
        """As `follow_denials`, for so long, while the kernel logs what `deny` rules refuse.

        That is a parameter of the whole host; it is put back when the iterator ends or is closed.
        """
        from phoenix_hypervisor.engine.following import listen

        return listen(*self._watched(), ctids, seconds, progress)

    def replay(self, request: requests.DenialsRequest, profile: str) -> Replay:
        """Which of the denials a profile (a name, a source or a compiled file) lets through."""
        from phoenix_hypervisor.engine.denials import Watch
        from phoenix_hypervisor.engine.replaying import replay

        session, sources = self._watched()
        return replay(Watch(session, sources, request), sources, profile)

    def accept(self, request: requests.AcceptRequest) -> Accepted:
        """Write the rules that denials are offered into apparmor/accepted beside the configuration."""
        from phoenix_hypervisor.engine.accepting import accept

        return accept(*self._watched(), request)

    def accepted(self) -> Accepted:
        """The rules that were accepted; writes nothing."""
        from phoenix_hypervisor.engine.accepting import listed

        return listed(self._session())

    def remove_accepted(self, ids: Sequence[str]) -> Accepted:
        """Take accepted rules out again."""
        from phoenix_hypervisor.engine.accepting import remove

        return remove(self._session(), tuple(ids))

    def _watched(self) -> tuple[Session, PolicySources]:
        from phoenix_hypervisor.engine.policy_sources import PolicySources
        from phoenix_hypervisor.engine.recovery import end_listening

        session = self._session()
        with suppress(PhoenixError):
            # An ordinary user may look all the same; status tells what is left.
            end_listening(session)
        return session, PolicySources(session, session.configuration)

    def trials(self) -> Trials:
        """Trials of profiles: beginning one, ending one, looking at them."""
        from phoenix_hypervisor.engine.trial_face import Trials

        return Trials(self._session)

    def monitoring(self) -> Monitoring:
        """Metrics, and the timers that look at this host by themselves."""
        from phoenix_hypervisor.engine.monitoring import Monitoring

        return Monitoring(self._session)

    def fleet(self) -> Fleet:
        """This node among others: its facts for them, and what their facts say."""
        from phoenix_hypervisor.engine.fleet_face import Fleet

        return Fleet(self._session)

    # Transactions -----------------------------------------------------------------

    def history(self) -> results.History:
        """The transactions that are kept, newest first."""
        from phoenix_hypervisor.engine.undo import read_history

        return read_history(self._session())

    def rollback(
        self, request: requests.RollbackRequest | None = None, progress: results.Progress = silent
    ) -> results.Applied:
        """Undo a transaction, as a transaction.

        Raises RollbackRefused, with the three states of each file, where something was changed since.
        """
        from phoenix_hypervisor.engine.requests import RollbackRequest
        from phoenix_hypervisor.engine.undo import undo

        session = self._session()
        with told(session, progress):
            return undo(session, RollbackRequest() if request is None else request, progress)

    def recover(self) -> Recovered | None:
        """Undo what a killed run left; None where there is nothing.  The other methods do it first."""
        from phoenix_hypervisor.engine.recovery import recover_first

        return recover_first(self._session())

    # What can be named: quick lists, for the completion of words --------------------

    def known_containers(self, *, declared: bool = False) -> dict[str, str]:
        """Containers: name by CTID, empty where none is known; `declared`: only those that are."""
        from phoenix_hypervisor.engine import known

        find = known.declared if declared else known.containers
        return find(self._machine(), self._settings)

    def known_profiles(self) -> dict[str, str]:
        """Profiles that can be asked: `shipped` or `loaded` by name."""
        from phoenix_hypervisor.engine.known import profiles

        return profiles(self._machine(), self._settings)

    def known_transactions(self) -> dict[str, str]:
        """Transactions that are kept, newest first: time and command by number."""
        from phoenix_hypervisor.engine.known import transactions

        return transactions(self._machine())

    def _machine(self) -> Host:
        from phoenix_hypervisor.host.machine import Host

        return Host(self._settings.root) if self._host is None else self._host

    # Policy -----------------------------------------------------------------------

    def query(
        self, request: policy_requests.QueryRequest
    ) -> ask.Answered | ask.AnsweredEach | ask.RawAnswered:
        """Ask a profile one question, or for each access to a file."""
        from phoenix_hypervisor.engine.questions import query

        return query(self._sources(), request)

    def denial(self, request: policy_requests.DenialRequest) -> ask.Answered:
        """Ask a profile for what a line of a log says that AppArmor decided."""
        from phoenix_hypervisor.engine.questions import denial

        return denial(self._sources(), request)

    def find_profile(self, name: str | None, policy: policy_requests.Operand | None = None) -> str:
        """The label of the profile that `query` would ask.  Raises PhoenixError where there is none."""
        from phoenix_hypervisor.engine.ask import find

        return find(self._sources(), policy)(name).label

    def batch(
        self, lines: Iterable[bytes | str], policy: policy_requests.Operand | None = None
    ) -> Iterator[tuple[str, bool]]:
        """Answer JSON lines of questions, one JSON text each; False where a line makes no sense."""
        from phoenix_hypervisor.engine.ask import find
        from phoenix_hypervisor.policy.batch import Batch

        # A profile in a line may be called /usr/bin/man: that is no file to read.
        sources = self._sources()
        batch = Batch(find(sources, policy, files=False), asks=sources.asks())
        failed = 0
        for answer in batch.run(lines):
            yield answer, batch.failed == failed
            failed = batch.failed

    def diff(self, request: policy_requests.DiffRequest) -> ask.Compared:
        """What only one of two policies allows, each with a shortest witness."""
        from phoenix_hypervisor.engine.ask import diff

        return diff(self._sources(), request)

    def list(self, request: policy_requests.ListRequest) -> listed.Listed:
        """What a profile allows, with shortest examples."""
        from phoenix_hypervisor.engine.listed import listing

        return listing(self._sources(), request)

    def explain(
        self, request: policy_requests.ExplainRequest | policy_requests.DenialRequest
    ) -> ask.Explained:
        """The source rules that decide a question, or what a line of a log is about."""
        from phoenix_hypervisor.engine.questions import explain

        return explain(self._sources(), request)

    def lint(
        self,
        request: policy_requests.LintRequest | None = None,
        progress: Callable[[results.Stage], None] = silent,
    ) -> ask.Linted:
        """Bad habits in profile sources."""
        from phoenix_hypervisor.engine.ask import lint
        from phoenix_hypervisor.engine.policy_requests import LintRequest

        return lint(self._sources(), LintRequest() if request is None else request, progress)

    def test(
        self,
        request: policy_requests.PolicyTestRequest | None = None,
        progress: Callable[[results.Stage], None] = silent,
    ) -> ask.Tested:
        """Run policy tests."""
        from phoenix_hypervisor.engine.ask import test
        from phoenix_hypervisor.engine.policy_requests import PolicyTestRequest

        return test(self._sources(), PolicyTestRequest() if request is None else request, progress)

    def compile(self, request: policy_requests.CompileRequest) -> ask.Compiled:
        """Compile a source, and write the policy where the request says."""
        from phoenix_hypervisor.engine.ask import compile

        return compile(self._sources(), request)

    def _sources(self) -> PolicySources:
        from phoenix_hypervisor.engine.policy_sources import PolicySources

        return PolicySources(self._session())
