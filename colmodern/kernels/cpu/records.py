"""Records of kernels as arguments: whole, in place of all arrays in them taken apart.

numba takes every tuple apart at a call, and puts it together in the function that is called. With the
arrays of a query and of a segment that was a seventh of what LLVM read of a search.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core.datamodel import DataModelManager, default_manager
from numba.core.datamodel.models import TupleModel

_PACKAGE = "colmodern.kernels."


class _RecordModel(TupleModel):  # type: ignore[misc]
    """A record as one argument or result."""

    def get_argument_type(self) -> ir.Type:
        """The type of the record itself."""
        return self.get_value_type()

    def as_argument(self, builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
        """The record itself."""
        return value

    def from_argument(self, builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
        """The record itself."""
        return value

    def as_return(self, builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
        """The record itself, where it is kept in memory as it is computed with."""
        is_same = self.get_data_type() == self.get_value_type()
        return value if is_same else super().as_return(builder, value)

    def from_return(self, builder: ir.IRBuilder, value: ir.Value) -> ir.Value:
        """The record itself, where it is kept in memory as it is computed with."""
        is_same = self.get_data_type() == self.get_value_type()
        return value if is_same else super().from_return(builder, value)


def _model_of(manager: DataModelManager, record: types.NamedTuple) -> TupleModel:
    is_own = record.instance_class.__module__.startswith(_PACKAGE)
    return (_RecordModel if is_own else TupleModel)(manager, record)


default_manager.register(types.NamedTuple, _model_of)
