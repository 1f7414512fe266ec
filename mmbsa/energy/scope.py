"""Where in a model an op runs: names of modules, and the part of the network that they belong
to.
"""

import re

from torch import nn

#: part of a network by the names of modules on the path, from the outside in; the last one that
#: fits wins.
_BY_NAME = (
    ('stem', r'(^|\.)(stem|patch_embed|conv_?1|embed|tokenizer|downsample1_1)$'),
    ('neck', r'(^|\.)(neck|fpn)$'),
    ('head', r'(^|\.)(\w*head|fc|classifier|readout)$'),
    ('attention', r'(^|\.)\w*attn\w*$'),
    ('mlp', r'(^|\.)(\w*mlp|ffn)$'),
)
#: and by the name of the class.
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
        module: it.
        name: its full name in the model.
        component: part of the network.
        calls: op -> how often it ran so far in this call.
    """

    __slots__ = ('calls', 'component', 'module', 'name')

    def __init__(self, module: nn.Module | None, name: str, component: str):
        self.module, self.name, self.component = module, name, component
        self.calls: dict = {}


def components(model: nn.Module) -> dict[nn.Module, tuple[str, str]]:
    """Module -> full name and component."""
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
    """Part of the ops that a model runs itself: where it has a head, they come behind it (logits
    resized, softmax).
    """
    return (
        'head' if any(re.search(r'head$', name) for name, _ in model.named_children()) else 'body'
    )
