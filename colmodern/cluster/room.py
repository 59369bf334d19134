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
        resources: What each slot has.
        n: Number of slots.
        noun: What messages call the processes, in the plural.
        setting: Name of the setting that decides ``n``.
        name: Name under which it stays when this process ends; None: it ends with the process.
        is_apart: Whether no two slots may be on one machine.

    Raises:
        ResourceError: The cluster has no such room now.
    """

    def __init__(
        self,
        resources: Resources,
        n: int,
        noun: str,
        *,
        setting: str,
        name: str | None = None,
        is_apart: bool = False,
    ) -> None:
        from ray.util.placement_group import placement_group

        self.n = n
        self._group = placement_group(
            [resources.bundle()] * n,
            strategy="STRICT_SPREAD" if is_apart else "SPREAD",
            name=name or "",
            lifetime="detached" if name else None,
        )
        if not self._group.wait(_PATIENCE):
            self.close()
            apart = ", each on another machine" if is_apart else ""
            raise ResourceError(
                f"{setting}={n}: no room for {n} {noun} of {resources} each{apart}; the cluster has "
                f"{free_room()}; lower {setting}, end other work on the cluster, or add machines"
            )

    def options(self, slot: int) -> dict[str, Any]:
        """Options of an actor that runs in a slot."""
        from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

        strategy = PlacementGroupSchedulingStrategy(self._group, placement_group_bundle_index=slot)
        return {"scheduling_strategy": strategy}

    @property
    def is_lacking(self) -> bool:
        """Whether a slot was lost with its machine, and no other machine has room for it."""
        from ray.util.placement_group import placement_group_table

        return bool(placement_group_table(self._group).get("state") != "CREATED")

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
