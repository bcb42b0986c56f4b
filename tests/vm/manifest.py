#!/usr/bin/python3
"""Writes down a file tree so that two of them can be compared with diff.

  manifest.py make [--counted] [--lists] [--probe] ROOT
                                       one line per file, in the order of the names' bytes
  manifest.py holes ROOT               the holes of the regular files: path, offset, length
  manifest.py check-holes ROOT HOLES   says which of these are not holes in ROOT, where whole
                                       blocks of the file (st_blksize) fit into them

A line of `make` has, separated by tabs: path, type, mode, owner:group, links, size (or
device numbers, or target), modification time in nanoseconds, digest, first name of the same
file, extended attributes in hex.

A directory's links and size are what ZFS says: two plus its subdirectories, two plus its
entries. With --counted they are counted instead of asked for, for trees on other file
systems. Access control lists appear in the mode only, or with --lists among the extended
attributes, as the kernel packs them; sockets are left out.

The digest is SHA-256 over the offset and bytes of each 4096-byte piece that is not all
zeros, so that it costs little for a large hole and says nothing of where the holes are. It
is "unreadable" where the kernel gives an I/O error. With --probe holes are read, too (the
first and last MiBs of each): OpenZFS calls what a redacted send left out a hole.
"""
import errno
import hashlib
import os
import stat
import sys

PIECE = 4096
ZEROS = bytes(PIECE)


def quote(name):
    """Printable ASCII as it is, everything else as \\xHH."""
    return "".join(chr(b) if 0x21 <= b <= 0x7E and b != 0x5C else "\\x%02x" % b for b in name)


def unquote(text):
    out, i = bytearray(), 0
    while i < len(text):
        if text[i] == "\\":
            out.append(int(text[i + 2 : i + 4], 16))
            i += 4
        else:
            out.append(ord(text[i]))
            i += 1
    return bytes(out)


def data_extents(fd, size):
    """The parts of a file that are not holes, as far as its file system tells."""
    at = 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        end = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        yield start, end
        at = end


def probe(fd, start, end):
    block = os.fstat(fd).st_blksize
    far = 8 << 20
    for at in range(start, end, block):
        if at < start + far or at > end - far:
            os.pread(fd, 1, at)


def digest(path, size, probed):
    sha = hashlib.sha256()
    fd = os.open(path, os.O_RDONLY)
    try:
        at = 0
        for start, end in data_extents(fd, size):
            if probed:
                probe(fd, at, start)
            # A piece may have been seen with the extent before.
            at = max(at, start - start % PIECE)
            while at < end:
                chunk = os.pread(fd, 1 << 20, at)
                if not chunk:
                    raise OSError(errno.EIO, "file ends early", path)
                for i in range(0, len(chunk), PIECE):
                    piece = chunk[i : i + PIECE]
                    if piece != ZEROS[: len(piece)] and at + i < end:
                        sha.update(b"%d:" % (at + i))
                        sha.update(piece)
                at += len(chunk)
            at = end + -end % PIECE
        if probed:
            probe(fd, at, size)
    finally:
        os.close(fd)
    return sha.hexdigest()


def xattrs(path, lists):
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.EPERM):
            return ""
        raise
    return " ".join(
        "%s=%s" % (quote(name), os.getxattr(path, name, follow_symlinks=False).hex())
        for name in sorted(os.fsencode(n) for n in names)
        if lists or not name.startswith(b"system.")
    )


def walk(root):
    """Every path below root, root first, each directory's names in byte order."""
    pending = [b""]
    while pending:
        path = pending.pop()
        full = os.path.join(root, path) if path else root
        info = os.lstat(full)
        if stat.S_ISSOCK(info.st_mode):
            continue
        names = None
        if stat.S_ISDIR(info.st_mode):
            names = sorted(os.listdir(full))
            for name in reversed(names):
                pending.append(os.path.join(path, name))
        yield path, full, info, names


KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "dir",
    stat.S_IFLNK: "link",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
    stat.S_IFIFO: "fifo",
}


def make(root, options):
    counted, lists = "--counted" in options, "--lists" in options
    entries = list(walk(root))
    names_of, subdirectories = {}, {}
    for path, _, info, names in entries:
        if stat.S_ISDIR(info.st_mode):
            parent = os.path.dirname(path)
            if path:
                subdirectories[parent] = subdirectories.get(parent, 0) + 1
        else:
            names_of.setdefault((info.st_dev, info.st_ino), []).append(path)
    listed = {}
    for path, _, _, _ in entries:
        if path:
            parent = os.path.dirname(path)
            listed[parent] = listed.get(parent, 0) + 1
    for path, full, info, names in entries:
        mode = info.st_mode
        kind = KINDS[stat.S_IFMT(mode)]
        links, size, sha, first = info.st_nlink, str(info.st_size), "-", "-"
        if names is not None:
            if counted:
                links = 2 + subdirectories.get(path, 0)
                size = str(2 + listed.get(path, 0))
        else:
            same = names_of[(info.st_dev, info.st_ino)]
            if counted:
                links = len(same)
            if same[0] != path:
                first = quote(same[0])
        if kind == "file" and first == "-":
            try:
                sha = digest(full, info.st_size, "--probe" in options)
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                sha = "unreadable"
        elif kind == "link":
            size = quote(os.readlink(full))
        elif kind in ("char", "block"):
            size = "%d,%d" % (os.major(info.st_rdev), os.minor(info.st_rdev))
        elif kind == "fifo":
            size = "-"
        fields = (
            quote(path) or ".",
            kind,
            "%04o" % stat.S_IMODE(mode),
            "%d:%d" % (info.st_uid, info.st_gid),
            str(links),
            size,
            "%d.%09d" % divmod(info.st_mtime_ns, 10**9),
            sha,
            first,
            xattrs(full, lists) or "-",
        )
        print("\t".join(fields))


def holes(root):
    for path, full, info, _ in walk(root):
        if not stat.S_ISREG(info.st_mode):
            continue
        fd = os.open(full, os.O_RDONLY)
        at = 0
        for start, end in data_extents(fd, info.st_size):
            if start > at:
                print("%s\t%d\t%d" % (quote(path), at, start - at))
            at = end
        if at < info.st_size:
            print("%s\t%d\t%d" % (quote(path), at, info.st_size - at))
        os.close(fd)


def check_holes(root, listing):
    checked = wrong = 0
    for line in open(listing, "rb"):
        path, offset, length = line.decode("latin-1").rstrip("\n").split("\t")
        offset, length = int(offset), int(length)
        fd = os.open(os.path.join(root, unquote(path)), os.O_RDONLY)
        info = os.fstat(fd)
        block = info.st_blksize
        start = -(-offset // block) * block
        end = offset + length
        if end < info.st_size:
            end -= end % block
        if start < end:
            checked += 1
            try:
                data = os.lseek(fd, start, os.SEEK_DATA)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    raise
                data = end
            # OpenZFS calls a file data that has one block of another size than a power of
            # two, whatever is in it; that it takes no space still shows.
            single = info.st_size <= block and block & (block - 1) != 0
            if data < end and not (single and info.st_blocks * 512 < block):
                wrong += 1
                print("%s: data at %d, a hole was there from %d to %d (blocks of %d)" % (path, data, offset, offset + length, block))
        os.close(fd)
    print("%d holes of at least a block, %d of them filled" % (checked, wrong))
    return 1 if wrong else 0


def main():
    arguments = sys.argv[1:]
    options = [a for a in arguments if a.startswith("--")]
    arguments = [a for a in arguments if not a.startswith("--")]
    match arguments:
        case ["make", root]:
            make(os.fsencode(root), options)
        case ["holes", root]:
            holes(os.fsencode(root))
        case ["check-holes", root, listing]:
            return check_holes(os.fsencode(root), listing)
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
