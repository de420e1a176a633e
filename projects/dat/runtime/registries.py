"""What MMEngine's registries refuse of a config, as sentences."""

import inspect
import re
import traceback

from mmengine.registry import Registry, build_functions

from .arguments import check_arguments, nearest, parameters
from .errors import ArgumentError, UserError


def check_node(registry: Registry, node: dict, where: str) -> None:
    """Check a part of a config that cannot be built yet: its type and, of some, its arguments.

    Args:
        registry (Registry): It knows the type.
        node (dict): With a ``type``.
        where (str): Its dotted path.

    Raises:
        UserError: The type is not registered.
        ArgumentError: It is, and takes no such arguments. Types with ``**kwargs`` take any.
    """
    kind = node.get('type')
    if isinstance(kind, str):
        with registry.switch_scope_and_registry(None) as registry:
            kind = registry.get(kind)
        if kind is None:
            raise UserError(f'{where}.type: {_unknown(node["type"], registry)}')
    if not callable(kind):
        return  # the run will refuse it
    names = inspect.signature(kind).parameters.values()
    if not any(parameter.kind == parameter.VAR_KEYWORD for parameter in names):
        ours = ('type', '_scope_', 'priority')  # the registry's and the runner's
        check_arguments(kind, {key: node[key] for key in node if key not in ours}, where)


def explain(error: Exception) -> str | None:
    """A sentence for what a registry refuses in a config, None for any other error.

    Refused are a type that is not registered and arguments that the type does not have. What the
    class itself raises, once it runs, may be a bug: it is none of this function's business.
    """
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    builders = [f for f in frames if f.f_code.co_filename == build_functions.__file__]
    if not builders:
        return None
    by_registry = builders[-1] is frames[-1]
    found = builders[-1].f_locals
    if isinstance(error, TypeError) and 'obj' not in found and found.get('obj_cls'):
        kind, arguments = found['obj_cls'], found['args']
        # An argument may go through **kwargs of several constructors before one refuses it.
        unknown = re.search(r"unexpected keyword argument '(\w+)'", str(error))
        names = parameters(kind)[0]
        if by_registry or (unknown and unknown[1] in arguments and unknown[1] not in (names or ())):
            try:
                check_arguments(kind, arguments, f'the config of {kind.__name__}')
            except ArgumentError as refused:
                return str(refused)
            return f'the config of {kind.__name__} is refused: {error}'
    if by_registry and isinstance(error, (KeyError, TypeError)):
        if found.get('obj_type') and isinstance(found['obj_type'], str):
            return _unknown(found['obj_type'], found['registry'])
        return str(error.args[0]).splitlines()[0]
    return None


def _unknown(name: str, registry: Registry) -> str:
    root = registry
    while root.parent is not None:
        root = root.parent
    families = [root, *root.children.values()]
    names = sorted({known for family in families for known in family.module_dict})
    return (
        f'{name!r} is not in the {registry.scope}::{registry.name} registry{nearest(name, names)}: '
        'check its spelling, or name the module that registers it in custom_imports'
    )
