"""Everything that a definition reaches, from name to name."""

from collections import defaultdict
from collections.abc import Collection

from tests.code_versions.source import Key, Source


def reach(source: Source, start: Key, ignored: Collection[str] = ()) -> dict[Key, str]:
    """The digests of a definition and all that it leads to, modules named in `ignored` left out."""
    digests: dict[Key, str] = {}
    mentioned: set[str] = set()
    unmentioned: defaultdict[str, list[Key]] = defaultdict(list)
    open_keys = [start]
    while open_keys:
        key = open_keys.pop()
        module, _ = key
        definition = None if key in digests or module in ignored else source.find(key)
        if definition is None:
            continue
        digests[key] = definition.digest
        open_keys += definition.names
        for member in definition.members:
            name = member.rpartition(".")[2]
            (open_keys if name in mentioned else unmentioned[name]).append((module, member))
        for name in definition.mentions - mentioned:
            mentioned.add(name)
            open_keys += unmentioned.pop(name, [])
    return dict(sorted(digests.items()))
