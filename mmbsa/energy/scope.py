"""Position of an op in a model: full module names, and components of the network."""

import re

from torch import nn

#: component by the names of the modules on the path, from the outermost to the innermost; the last
#: match decides.
_BY_NAME = (
    ('stem', r'(^|\.)(stem|patch_embed|conv_?1|embed|tokenizer|downsample1_1)$'),
    ('neck', r'(^|\.)(neck|fpn)$'),
    ('head', r'(^|\.)(\w*head|fc|classifier|readout)$'),
    ('attention', r'(^|\.)\w*attn\w*$'),
    ('mlp', r'(^|\.)(\w*mlp|ffn)$'),
)
#: component by the name of the class.
_BY_CLASS = (
    ('attention', 'Attention'),
    ('mlp', 'MLP'),
    ('mlp', 'Mlp'),
    ('mlp', 'FFN'),
    ('head', 'Head'),
    ('neck', 'Neck'),
)
COMPONENTS = ('stem', 'attention', 'mlp', 'body', 'neck', 'head')


class Scope:
    """One call of a module.

    Attributes:
        module: the module.
        name: full name of the module in the model.
        component: component of the network.
        calls: op -> number of its calls so far within this call of the module.
    """

    __slots__ = ('calls', 'component', 'module', 'name')

    def __init__(self, module: nn.Module | None, name: str, component: str):
        self.module, self.name, self.component = module, name, component
        self.calls: dict = {}


def components(model: nn.Module) -> dict[nn.Module, tuple[str, str]]:
    """Return module -> (full name, component)."""
    found, parts = {}, {'': 'body'}
    for name, module in model.named_modules():
        part = parts.get(name.rpartition('.')[0], 'body') if name else 'body'
        for label, word in _BY_CLASS:
            if word in type(module).__name__ and name:
                part = label
        for label, pattern in _BY_NAME:
            if name and re.search(pattern, name):
                part = label
        parts[name] = part
        found[module] = (name, part)
    found[model] = ('', root_component(model))
    return found


def root_component(model: nn.Module) -> str:
    """Return the component of the ops that a model runs itself.

    In a model with a head these ops run after the head (resized logits, softmax).
    """
    return (
        'head' if any(re.search(r'head$', name) for name, _ in model.named_children()) else 'body'
    )
