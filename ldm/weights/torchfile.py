def is_zip(start):
    return False


def is_legacy(start):
    return False


def read_zip(file): ...
def read_legacy(file): ...
