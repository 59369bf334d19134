"""Compiling a function that only other compiled functions call.

By itself numba makes every function ready to be called: it optimises it with all that it calls, makes
machine code of that, and wraps it for Python. Inside another function all of this is thrown away and
done once more, so that what lies four calls deep is compiled four times. Here such a function remains
what numba's lowering makes of it, and is optimised where it is called.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from numba.core.base import BaseContext
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler, CompilerBase, DefaultPassBuilder
from numba.core.compiler_lock import require_global_compiler_lock
from numba.core.compiler_machinery import register_pass
from numba.core.typed_passes import NativeLowering


class _InnerLibrary(JITCodeLibrary):  # type: ignore[misc]
    """The code of a function and of all that it calls, as it is before it is optimised."""

    def add_llvm_module(self, ll_module: Any) -> None:
        """Link a module as it is."""
        self._final_module.link_in(ll_module)

    def finalize(self) -> None:
        """Link what is called; nothing else."""
        require_global_compiler_lock()
        self._raise_if_finalized()
        for library in dict.fromkeys(self._linking_libraries):
            self._reload_init.update(library._reload_init)
            self._final_module.link_in(library._get_module_for_linking(), preserve=True)
        self._finalized = True


@register_pass(mutates_CFG=True, analysis_only=False)
class _InnerLowering(NativeLowering):  # type: ignore[misc]
    """Lowering without machine code and without anything for Python to call."""

    _name = "colmodern_inner_lowering"

    def run_pass(self, state: Any) -> bool:
        """Lower, and tell numba what stands for the function in its callers."""
        name = state.func_id.func_qualname
        state.library = _InnerLibrary(state.targetctx.codegen(), name)
        flags = state.flags
        flags.no_compile = flags.no_cpython_wrapper = flags.no_cfunc_wrapper = True
        super().run_pass(state)
        entry: Any = [].append  # any built-in function: a name for this one, never called
        state.targetctx.insert_user_function(entry, state.cr.fndesc, [state.library])
        state.reload_init.extend(state.library._reload_init)
        state.cr = state.cr._replace(cfunc=entry)
        return True


class InnerCompiler(CompilerBase):  # type: ignore[misc]
    """numba's compiler with the lowering above."""

    def define_pipelines(self) -> list[Any]:
        """The usual passes, but one."""
        manager = DefaultPassBuilder.define_nopython_pipeline(self.state)
        manager.passes = [
            (_InnerLowering if step is NativeLowering else step, description)
            for step, description in manager.passes
        ]
        manager.finalize()
        return [manager]


class OuterCompiler(CompilerBase):  # type: ignore[misc]
    """numba's compiler for a function that Python calls, which makes inner ones of numba's own too."""

    def define_pipelines(self) -> list[Any]:
        """The usual passes."""
        return [DefaultPassBuilder.define_nopython_pipeline(self.state)]

    def _compile_core(self) -> Any:
        # np.empty, min and others are functions that numba compiles with its default compiler; no
        # other thread compiles meanwhile, since whoever does holds numba's lock
        require_global_compiler_lock()
        usual, alignment = Compiler.define_pipelines, BaseContext.get_preferred_array_alignment
        Compiler.define_pipelines = InnerCompiler.define_pipelines
        BaseContext.get_preferred_array_alignment = _cache_line
        try:
            with _collector_paused():
                return super()._compile_core()
        finally:
            Compiler.define_pipelines = usual
            BaseContext.get_preferred_array_alignment = alignment


def _cache_line(context: BaseContext, dtype: object) -> int:
    """Bytes that the address of a new array is a multiple of.

    With numba's own 32, half of all processes read vectors of 64 bytes from two cache lines each.
    """
    return 64


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Without Python's collector of cycles, which takes a sixth of compiling and finds little."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if (
            not gc.get_freeze_count()
        ):  # what the compiler left counts as old: collected later, not now
            gc.freeze()
            gc.unfreeze()
        if was_enabled:
            gc.enable()
