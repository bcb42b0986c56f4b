#!/usr/bin/python3
"""Changes every regular file of a tree in one way, and tells whether the change holds.

  modify.py list                                the changes, one name a line
  modify.py count TREE                          the number of files that a change concerns
  modify.py apply CHANGE TREE                   makes it
  modify.py verify CHANGE TREE ORIGINAL COUNT   says which of the COUNT files are not what
                                                CHANGE makes of those in ORIGINAL

CHANGE `mixed` picks one by the file's place in the tree. What a file becomes is computed
from its bytes in ORIGINAL in memory, so the file system under test is never its own judge.
Left alone are other file systems below TREE, files over LIMIT bytes, and all but the first
ALIKE files of one size in a directory. A file of several names is changed through the first.
"""
import hashlib
import mmap
import os
import stat
import sys

LIMIT = 8 << 20
ALIKE = 4
SHOWN = 10


def noise():
    """A prime number of bytes that do not compress."""
    out = b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(2048))
    return out[:65521]


NOISE = noise()


def pattern(length, salt):
    """Bytes of NOISE from a place that depends on salt."""
    start = salt * 7919 % len(NOISE)
    return (NOISE * (2 + length // len(NOISE)))[start : start + length]


# A change is a list of steps: ("write", offset, bytes), ("map", offset, bytes),
# ("truncate", size). `block` is the file's block size before the change.


def append_byte(size, block):
    return [("write", size, b"+")]


def append_blocks(size, block):
    return [("write", size, pattern(block + 7, size))]


def append_often(size, block):
    return [("write", size + 100 * i, pattern(100, i)) for i in range(12)]


def overwrite_first(size, block):
    return [("write", 0, b"#")]


def overwrite_last(size, block):
    return [("write", max(size - 1, 0), b"#")]


def overwrite_middle(size, block):
    start = size // 2
    return [("write", start, pattern(min(block, size - start), size))]


def overwrite_all(size, block):
    return [("write", 0, pattern(size, size))]


def map_last(size, block):
    return [("map", size - 1, b"#")] if size else []


def truncate_all(size, block):
    return [("truncate", 0)]


def truncate_byte(size, block):
    return [("truncate", max(size - 1, 0))]


def truncate_half(size, block):
    return [("truncate", size // 2)]


def truncate_and_back(size, block):
    return [("truncate", size // 2), ("truncate", size)]


def extend(size, block):
    return [("truncate", size + 3 * block + 5)]


def extend_and_write(size, block):
    return [("write", size + 2 * block + 3, pattern(100, size))]


CHANGES = {
    change.__name__.replace("_", "-"): change
    for change in (
        append_byte, append_blocks, append_often, overwrite_first, overwrite_last, overwrite_middle,
        overwrite_all, map_last, truncate_all, truncate_byte, truncate_half, truncate_and_back, extend,
        extend_and_write,
    )
}


def perform(path, steps):
    fd = os.open(path, os.O_RDWR)
    try:
        for step in steps:
            if step[0] == "truncate":
                os.ftruncate(fd, step[1])
            elif step[0] == "map":
                with mmap.mmap(fd, 0) as view:
                    view[step[1] : step[1] + len(step[2])] = step[2]
                    view.flush()
            else:
                offset, data = step[1], step[2]
                while data:
                    done = os.pwrite(fd, data, offset)
                    offset, data = offset + done, data[done:]
    finally:
        os.close(fd)


def expected(content, steps):
    out = bytearray(content)
    for step in steps:
        if step[0] == "truncate":
            size = step[1]
            out = out[:size] + bytes(max(size - len(out), 0))
        else:
            offset, data = step[1], step[2]
            out += bytes(max(offset + len(data) - len(out), 0))
            out[offset : offset + len(data)] = data
    return bytes(out)


def files(root):
    """Path below root and state of every regular file to change, in a fixed order."""
    seen = set()
    # A snapshot is mounted when something in it is looked at, "." at the least.
    device = os.stat(os.path.join(root, b".")).st_dev
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(f for f in folders if os.lstat(os.path.join(folder, f)).st_dev == device)
        alike = {}
        for name in sorted(names):
            full = os.path.join(folder, name)
            info = os.lstat(full)
            if not stat.S_ISREG(info.st_mode) or info.st_size > LIMIT or info.st_ino in seen:
                continue
            seen.add(info.st_ino)
            alike[info.st_size] = alike.get(info.st_size, 0) + 1
            if alike[info.st_size] <= ALIKE:
                yield os.path.relpath(full, root), info


def chosen(change, index):
    names = list(CHANGES)
    return CHANGES[names[index % len(names)] if change == "mixed" else change]


def apply(change, tree):
    count = 0
    for index, (path, info) in enumerate(list(files(tree))):
        perform(os.path.join(tree, path), chosen(change, index)(info.st_size, info.st_blksize))
        count += 1
    print("%s: %d files" % (change, count))
    return 0


def verify(change, tree, original, planned):
    count = wrong = 0
    for index, (path, info) in enumerate(list(files(original))):
        count += 1
        with open(os.path.join(original, path), "rb") as file:
            meant = expected(file.read(), chosen(change, index)(info.st_size, info.st_blksize))
        with open(os.path.join(tree, path), "rb") as file:
            found = file.read()
        if found == meant:
            continue
        wrong += 1
        if wrong <= SHOWN:
            at = next((i for i, (a, b) in enumerate(zip(found, meant)) if a != b), min(len(found), len(meant)))
            print("%s: %r (was %d bytes, blocks of %d): %d bytes where %d were meant, first difference at %d"
                  % (change, path, info.st_size, info.st_blksize, len(found), len(meant), at))
    print("%s: %d files, %d wrong" % (change, count, wrong))
    return 1 if wrong or count != planned or not count else 0


def main():
    match sys.argv[1:]:
        case ["list"]:
            print("\n".join(CHANGES))
        case ["count", tree]:
            print(sum(1 for _ in files(os.fsencode(tree))))
        case ["apply", change, tree]:
            return apply(change, os.fsencode(tree))
        case ["verify", change, tree, original, count]:
            return verify(change, os.fsencode(tree), os.fsencode(original), int(count))
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
