"""Compiling a function that only other compiled functions call.

By itself numba makes every function ready to be called: it optimises it with all that it calls, makes
machine code of that, and wraps it for Python. Inside another function all of this is thrown away and
done once more, so that what lies four calls deep is compiled four times. Here such a function remains
what numba's lowering makes of it, and is optimised where it is called.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from numba.core.base import BaseContext
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import Compiler, CompilerBase, DefaultPassBuilder
from numba.core.compiler_lock import require_global_compiler_lock
from numba.core.compiler_machinery import register_pass
from numba.core.targetconfig import ConfigStack
from numba.core.typed_passes import NativeLowering
from numba.core.types import BaseFunction

# numba's passes for closures, `with`, array expressions, literals and reports, which kernels lack
_UNUSED_PASSES = frozenset(
    {
        "WithLifting",
        "InlineClosureLikes",
        "RewriteDynamicRaises",
        "MakeFunctionToJitFunction",
        "InlineInlinables",
        "FindLiterallyCalls",
        "LiteralUnroll",
        "LiteralPropagationSubPipelinePass",
        "InlineOverloads",
        "NopythonRewrites",
        "NoPythonSupportedFeatureValidation",
        "AnnotateTypes",
        "DumpParforDiagnostics",
    }
)


class _InnerLibrary(JITCodeLibrary):  # type: ignore[misc]
    """The code of a function as it is before it is optimised, and the libraries that it calls."""

    def add_llvm_module(self, ll_module: Any) -> None:
        """Link a module as it is."""
        self._final_module.link_in(ll_module)

    def finalize(self) -> None:
        """Leave the libraries that are called to the function that Python calls."""
        require_global_compiler_lock()
        self._raise_if_finalized()
        for library in self._linking_libraries:
            self._reload_init.update(library._reload_init)
        self._finalized = True


class _OuterLibrary(JITCodeLibrary):  # type: ignore[misc]
    """numba's library of a function that Python calls, with all that its inner functions call."""

    def finalize(self) -> None:
        """Link each inner library once, however many functions call it, and make machine code."""
        libraries = dict.fromkeys(self._linking_libraries)
        waiting = list(libraries)
        while waiting:
            library = waiting.pop()
            if isinstance(library, _InnerLibrary):
                new = [callee for callee in library._linking_libraries if callee not in libraries]
                libraries.update(dict.fromkeys(new))
                waiting.extend(new)
        self._linking_libraries: list[JITCodeLibrary] = list(libraries)
        super().finalize()


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


@register_pass(mutates_CFG=True, analysis_only=False)
class _OuterLowering(NativeLowering):  # type: ignore[misc]
    """numba's lowering, which links inner functions into the one that Python calls."""

    _name = "colmodern_outer_lowering"

    def run_pass(self, state: Any) -> bool:
        """Lower to machine code."""
        state.library = _OuterLibrary(state.targetctx.codegen(), state.func_id.func_qualname)
        state.library.enable_object_caching()
        return bool(super().run_pass(state))


def _passes(
    state: Any, lowering: type[NativeLowering], skipped: frozenset[str] = frozenset()
) -> list[Any]:
    """Numba's passes without those of the names ``skipped``, and with another lowering."""
    manager = DefaultPassBuilder.define_nopython_pipeline(state)
    manager.passes = [
        (lowering if step is NativeLowering else step, description)
        for step, description in manager.passes
        if step.__name__ not in skipped
    ]
    manager.finalize()
    return [manager]


class InnerCompiler(CompilerBase):  # type: ignore[misc]
    """numba's compiler for a kernel that other kernels call."""

    def define_pipelines(self) -> list[Any]:
        """The passes that a kernel needs."""
        return _passes(self.state, _InnerLowering, _UNUSED_PASSES)


class OuterCompiler(CompilerBase):  # type: ignore[misc]
    """numba's compiler for a function that Python calls, which makes inner ones of numba's own too."""

    def define_pipelines(self) -> list[Any]:
        """The usual passes."""
        return _passes(self.state, _OuterLowering)

    def _compile_core(self) -> Any:
        # np.empty, min and others are functions that numba compiles with its default compiler; no
        # other thread compiles meanwhile, since whoever does holds numba's lock
        require_global_compiler_lock()
        with (
            _replaced(
                Compiler, "define_pipelines", lambda self: _passes(self.state, _InnerLowering)
            ),
            _replaced(BaseContext, "get_preferred_array_alignment", _cache_line),
            _replaced(BaseFunction, "get_call_type", _remember_call_types()),
            _collector_paused(),
        ):
            return _call_with_room(super()._compile_core)


def _call_with_room(function: Callable[[], Any]) -> Any:
    """Call a function whose callees share one allocation of Python's stack.

    Python gives its frames 16 KiB at a time and returns them when the frame at their border ends. A
    loop that calls across such a border, and the compiler has many, maps and clears memory each time.
    """
    return function()


# CPython allots what a frame says that it needs, rounded up to a power of two: half a MiB remains
_call_with_room.__code__ = _call_with_room.__code__.replace(co_stacksize=70_000)


@contextmanager
def _replaced(owner: type, name: str, value: object) -> Iterator[None]:
    """An attribute of a class with another value for a while."""
    usual = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, usual)


def _remember_call_types() -> Callable[..., Any]:
    """Numba's ``BaseFunction.get_call_type`` that resolves equal calls once.

    Kernels have thousands of additions and comparisons of a few pairs of types, and numba tries all
    its templates for each of them.
    """
    usual = BaseFunction.get_call_type
    # a function is kept beside its signature so that no other gets its id
    resolved: dict[tuple[object, ...], tuple[Any, BaseFunction]] = {}

    def get_call_type(
        function: BaseFunction, context: Any, args: tuple[Any, ...], kws: dict[str, Any]
    ) -> Any:
        # what numba compiles for a call inherits whether references are counted
        flags = ConfigStack.top_or_none()
        counts = flags is None or flags.nrt
        key = (id(function), id(context), counts, tuple(args), tuple(kws.items()))
        if key not in resolved:
            resolved[key] = usual(function, context, args, kws), function
        return resolved[key][0]

    return get_call_type


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
