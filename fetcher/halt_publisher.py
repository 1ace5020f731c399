"""Halts and resumes scopes for a reason that the fetcher has found in an answer of Google."""

from collections.abc import Callable, Iterable

from fetcher.error_policy import halt_end, scope_of
from fetcher.outcome import HaltOrder
from fetcher.ports import Ports
from fetcher.schedule import Schedule
from pipeline.clock import now
from pipeline.contracts.halts import is_active, scopes_of
from pipeline.contracts.messages import Batch, Cause, Control
from pipeline.log import batch_fields, logger
from pipeline.metrics import counter

ACTOR = "fetcher"

_log = logger(__name__)


class HaltPublisher:
    """Publishes control records. They take effect in this process before they are read from the topic.

    `on_halt` is called when a halt has begun. Every method raises Retryable while Kafka is unreachable.
    """

    def __init__(self, ports: Ports, schedule: Schedule, on_halt: Callable[[], None]) -> None:
        self._ports = ports
        self._schedule = schedule
        self._on_halt = on_halt
        self._unpublished: set[str] = set()
        """Scopes whose record is in force here, and not acknowledged by Kafka."""

    async def halt(self, batch: Batch, order: HaltOrder) -> None:
        """Halt a scope of a batch, unless it is halted for longer already."""
        halts, scope = self._ports.control.halts, scope_of(batch, order.kind)
        until = halt_end(order, halts.ended_budget_halt([scope], now()), now())
        if order.cause == "budget":
            counter("gsc_quota_refusals_total").labels(order.kind).inc()
        active = halts.blocking([scope], now())
        is_shorter = active is None or (active.until is not None and (until is None or active.until < until))
        if is_shorter or scope in self._unpublished:
            await self._publish(
                Control(
                    scope=scope,
                    state="halted",
                    reason=order.reason,
                    actor=ACTOR,
                    at=now(),
                    until=until,
                    cause=order.cause,
                )
            )
            end = until and until.isoformat()
            _log.error("halted", scope=scope, reason=order.reason, until=end, **batch_fields(batch))

    async def end_probe(self, batch: Batch) -> None:
        """Resume the scope whose budget halt has ended: a call of the batch has succeeded."""
        if ended := self._ports.control.halts.ended_budget_halt(scopes_of(batch), now()):
            reason = "a call succeeded after the pause: the budget is available again"
            await self._resume(ended.scope, reason, "budget")

    async def supersede(self, credential: str, urls: Iterable[str]) -> None:
        """End the permission halts of properties, since the halt of their credential covers them."""
        halts = self._ports.control.halts
        for scope in (f"property:{url}" for url in sorted(urls)):
            active = halts.blocking([scope], now())
            if active is not None and active.cause == "permission":
                await self._resume(scope, f"superseded by the halt of credential:{credential}", "permission")

    async def _resume(self, scope: str, reason: str, cause: Cause) -> None:
        await self._publish(Control(scope=scope, state="running", reason=reason, actor=ACTOR, at=now(), cause=cause))

    async def _publish(self, control: Control) -> None:
        self._unpublished.add(control.scope)
        self._ports.control.halts.apply(control)
        self._schedule.wake_scope(control.scope)
        if is_active(control, now()):
            self._on_halt()
        await self._ports.results.control(control)
        self._unpublished.discard(control.scope)
