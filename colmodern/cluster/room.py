"""Room for processes on the machines of a cluster: reserved as a whole, or refused within seconds."""

from __future__ import annotations

from typing import Any, NamedTuple

from colmodern.cluster.connection import connected
from colmodern.errors import ResourceError

_PATIENCE = 5.0  # seconds until room that is free is reserved


class Resources(NamedTuple):
    """What one process takes of a machine."""

    cpus: float
    gpus: float = 0.0

    def bundle(self) -> dict[str, float]:
        """The resources as Ray takes them."""
        return {"CPU": self.cpus, **({"GPU": self.gpus} if self.gpus else {})}

    def __str__(self) -> str:
        cpus = f"{self.cpus:g} CPU{'s' * (self.cpus != 1)}"
        return f"{cpus} and {self.gpus:g} GPU{'s' * (self.gpus != 1)}" if self.gpus else cpus


class Room:
    """Slots for processes, each on one machine and on different machines where possible.

    Args:
        group: Ray's placement group of the slots.
    """

    def __init__(self, group: Any) -> None:
        self._group = group

    @classmethod
    def reserve(
        cls, resources: Resources, n: int, noun: str, *, setting: str, name: str | None = None
    ) -> Room:
        """Reserve slots.

        Args:
            resources: What each slot has.
            n: Number of slots.
            noun: What messages call the processes, in the plural.
            setting: Name of the setting that decides ``n``.
            name: Name under which the slots stay when this process ends; None: they end with it.

        Raises:
            ResourceError: The cluster has no such room now.
        """
        from ray.util.placement_group import placement_group

        group = placement_group(
            [resources.bundle()] * n,
            strategy="SPREAD",
            name=name or "",
            lifetime="detached" if name else None,
        )
        room = cls(group)
        if not group.wait(_PATIENCE):
            room.close()
            raise ResourceError(
                f"{setting}={n}: no room for {n} {noun} of {resources} each; the cluster has "
                f"{free_room()}; lower {setting}, end other work on the cluster, or add machines"
            )
        return room

    @classmethod
    def named(cls, name: str) -> Room | None:
        """The slots that were reserved under a name; None where there are none."""
        from ray.util import get_placement_group

        try:
            return cls(get_placement_group(name))
        except ValueError:  # no such group
            return None

    @property
    def n(self) -> int:
        """Number of slots."""
        return int(self._group.bundle_count)

    def options(self, slot: int) -> dict[str, Any]:
        """Options of an actor that runs in a slot."""
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        strategy = PlacementGroupSchedulingStrategy(self._group, placement_group_bundle_index=slot)
        return {"scheduling_strategy": strategy}

    @property
    def is_lacking(self) -> bool:
        """Whether a slot was lost with its machine, and no other machine has room for it."""
        return self._state in ("PENDING", "PREPARED", "RESCHEDULING")

    @property
    def outlook(self) -> str:
        """What becomes of a process of a slot that does not answer, in words; empty: it is started again."""
        if self.is_lacking:
            return f"there is no room for it: {free_room()}"
        return "it was stopped; open the index again" if self._state == "REMOVED" else ""

    @property
    def _state(self) -> str:
        from ray.util.placement_group import placement_group_table

        return str(placement_group_table(self._group).get("state", "REMOVED"))

    def close(self) -> None:
        """Give the slots back."""
        from ray.util.placement_group import remove_placement_group

        remove_placement_group(self._group)


def free_room() -> str:
    """What the cluster has free now, in words."""
    ray = connected("auto")
    total, free = ray.cluster_resources(), ray.available_resources()
    n_nodes = sum(node["Alive"] for node in ray.nodes())
    parts = [
        f"{free.get(kind, 0):g} of {total.get(kind, 0):g} {kind}s free" for kind in ("CPU", "GPU")
    ]
    return f"{' and '.join(parts)} on {n_nodes} machine{'s' * (n_nodes != 1)}"


def n_fitting(resources: Resources) -> int:
    """Processes that there is room for now, at least 1."""
    free = connected("auto").available_resources()
    numbers = [free.get("CPU", 0) // resources.cpus]
    if resources.gpus:
        numbers.append(free.get("GPU", 0) // resources.gpus)
    return max(1, int(min(numbers)))


def gpus_of_each(gpus: float | None) -> float:
    """GPUs of an encoder: those of the setting, or 1 where the cluster has any."""
    if gpus is not None:
        return gpus
    return 1.0 if connected("auto").cluster_resources().get("GPU", 0) >= 1 else 0.0
