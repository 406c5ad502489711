"""placeholder"""


def family_of(configs, path): ...
