#!/usr/bin/python3
"""Puts files of every kind where a job wants them.

  populate.py fill ROOT [WORD=VALUE...]    a tree in ROOT, which is empty
  populate.py change ROOT [WORD=VALUE...]  overwrites, cuts, removes and renames in such a tree
  populate.py clone SOURCE TARGET          the files of folder SOURCE in a new folder, which share
                                           their blocks
  populate.py volume DEVICE SEED           writes parts of a volume

Words:
  seed=N       other contents (default 1)
  record=N     sizes around this block size matter (default 131072)
  many=N       names in the large directory (default 300)
  scale=N      the largest file has so many records (default 40)
  plain        only what every file system version and every archive can hold: no extended
               attributes, no access control lists
  utf8         only names that are UTF-8
  posix        access control lists too (the dataset has acltype=posix)
  long         names of more than 255 bytes (the dataset has longname=on)

Contents depend on the words only. What is written is read back by manifest.py.
"""
import hashlib
import os
import stat
import sys

BANK = hashlib.shake_128(b"tine").digest(1 << 20)
LINE = b"Spaces, words and digits 0123456789 come back and back; this compresses well.\n"


class Random:
    """A linear congruential generator (Knuth's MMIX), its upper bits."""

    def __init__(self, seed):
        self.state = seed * 0x9E3779B97F4A7C15 & (1 << 64) - 1

    def below(self, limit):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) & (1 << 64) - 1
        return (self.state >> 33) % limit

    def noise(self, length):
        out = bytearray()
        while len(out) < length:
            start = self.below(len(BANK) - 4096)
            out += BANK[start : start + min(length - len(out), 65536)]
        return bytes(out)

    def text(self, length):
        start = self.below(len(LINE))
        return (LINE[start:] + LINE * (length // len(LINE) + 1))[:length]

    def mixed(self, length):
        out = bytearray()
        while len(out) < length:
            n = min(length - len(out), 512 + self.below(30000))
            out += (self.noise, self.text, bytes)[self.below(3)](n)
        return bytes(out)


class Tree:
    def __init__(self, root, words):
        given = dict(word.split("=", 1) if "=" in word else (word, "yes") for word in words)
        self.root = os.fsencode(root)
        self.random = Random(int(given.get("seed", 1)))
        self.record = int(given.get("record", 131072))
        self.many = int(given.get("many", 300))
        self.scale = int(given.get("scale", 40))
        self.plain = "plain" in given
        self.utf8 = "utf8" in given
        self.posix = "posix" in given
        self.long = "long" in given

    def at(self, path):
        return os.path.join(self.root, os.fsencode(path) if isinstance(path, str) else path)

    def listed(self, path):
        return os.listdir(os.fsdecode(self.at(path)))

    def folder(self, path):
        os.mkdir(self.at(path))

    def write(self, path, data, offset=0):
        with open(self.at(path), "r+b" if os.path.lexists(self.at(path)) else "wb") as file:
            file.seek(offset)
            file.write(data)

    def fill(self):
        for part in (self.sizes, self.holes, self.names, self.directories, self.links, self.modes, self.special):
            part()
        if not self.plain:
            self.xattrs()
        if self.posix:
            self.lists()
        self.times()

    def sizes(self):
        self.folder("sizes")
        record = self.record
        sizes = {0, 1, 50, 111, 112, 113, 511, 512, 513, 4095, 4096, 4097, 20000}
        sizes |= {record - 1, record, record + 1, 2 * record, 3 * record + 17, 10 * record + 5}
        for size in sorted(sizes):
            self.write("sizes/noise-%d" % size, self.random.noise(size))
            self.write("sizes/text-%d" % size, self.random.text(size))
        self.write("sizes/mixed", self.random.mixed(self.scale * record - 333))
        # Written piece by piece over several transaction groups, as programs do.
        with open(self.at("sizes/appended"), "wb", buffering=0) as file:
            for _ in range(40):
                file.write(self.random.mixed(1 + self.random.below(record // 4)))

    def holes(self):
        self.folder("holes")
        record = self.record
        self.write("holes/first", self.random.noise(100), 3 * record)
        self.write("holes/middle", self.random.noise(record + 7))
        self.write("holes/middle", self.random.noise(record), 9 * record + 1000)
        self.write("holes/last", self.random.noise(record // 2))
        os.truncate(self.at("holes/last"), 7 * record + 1)
        self.write("holes/nothing", b"")
        os.truncate(self.at("holes/nothing"), 100 * record)
        self.write("holes/zeros", bytes(4 * record))
        self.write("holes/far", self.random.text(5000))
        self.write("holes/far", self.random.noise(5000), 1 << 33)
        self.write("holes/many", b"")
        for number in range(30):
            self.write("holes/many", self.random.noise(700), number * 5 * record + self.random.below(record))

    def names(self):
        self.folder("names")
        names = [b"with space", b" ", b"new\nline", b"tab\there", b"back\\slash", b"-dash", b"#hash", b'"quoted"', b"*", b"..."]
        names += ["\u00fcml\u00e4ut \U0001f980".encode(), "o\u0302\ufb01".encode(), b"n" * 255, b"MiXeD", b"\x01\x7f"]
        if not self.utf8:
            names.append(b"not utf8 \xff\xfe\x80")
        if self.long:
            names += [b"l" * 256, b"m" * 700, b"o" * 1023]
        for name in names:
            self.write(b"names/" + name, name)

    def directories(self):
        self.folder("empty")
        deep = "deep"
        for level in range(20):
            self.folder(deep)
            self.write(deep + "/file", b"level %d\n" % level)
            deep += "/d"
        # A micro ZAP, one that outgrew it by a long name, and a fat one.
        self.folder("few")
        for number in range(20):
            self.write("few/%d" % number, b"")
        self.folder("fat")
        self.write("fat/" + "long" * 20, b"")
        self.folder("many")
        for number in range(self.many):
            self.write("many/%d%s" % (number, "x" * 60 if number % 7 == 0 else ""), b"")
        self.folder("subdirectories")
        for number in range(30):
            self.folder("subdirectories/%d" % number)

    def links(self):
        self.folder("links")
        self.write("links/first", self.random.text(3000))
        os.link(self.at("links/first"), self.at("links/second"))
        os.link(self.at("links/first"), self.at("links/third"))
        for name, length in (("short", 5), ("middle", 90), ("long", 400), ("longest", 1023)):
            os.symlink(hashlib.shake_128(name.encode()).hexdigest(512)[:length], self.at("links/" + name))
        os.symlink("first", self.at("links/good"))

    def modes(self):
        self.folder("modes")
        for mode in (0, 0o400, 0o644, 0o755, 0o1644, 0o2755, 0o4755, 0o7777):
            path = "modes/%04o" % mode
            self.write(path, b"%o\n" % mode)
            os.chmod(self.at(path), mode)
        for owner, group in ((1, 1), (1001, 1002), (65534, 65534), (2147483653, 7)):
            path = "modes/%d-%d" % (owner, group)
            self.write(path, self.random.noise(3000))
            os.chown(self.at(path), owner, group)
        self.folder("modes/directory")
        os.chmod(self.at("modes/directory"), 0o2775)

    def special(self):
        self.folder("special")
        os.mkfifo(self.at("special/fifo"), 0o640)
        os.mknod(self.at("special/null"), 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        os.mknod(self.at("special/large"), 0o600 | stat.S_IFCHR, os.makedev(4095, 1048575))
        os.mknod(self.at("special/disk"), 0o660 | stat.S_IFBLK, os.makedev(8, 17))

    def xattrs(self):
        self.folder("xattrs")
        shapes = (("empty", 1, 0), ("small", 1, 5), ("middle", 1, 300), ("large", 1, 3000), ("huge", 1, 30000))
        for name, count, length in shapes + (("several", 9, 40), ("many", 40, 60), ("beyond", 4, 40000)):
            self.write("xattrs/" + name, self.random.text(200))
            path = self.at("xattrs/" + name)
            for number in range(count):
                os.setxattr(path, "user.tine%d" % number, self.random.noise(length))
        self.write("xattrs/changed", b"")
        path = self.at("xattrs/changed")
        for length in (9000, 20, 500):
            os.setxattr(path, "user.a", self.random.noise(length))
            os.setxattr(path, "trusted.b", self.random.noise(length + 1))
        os.removexattr(path, "trusted.b")
        self.folder("xattrs/directory")
        os.setxattr(self.at("xattrs/directory"), "user.of a directory", b"value")
        os.symlink("changed", self.at("xattrs/link"))
        os.setxattr(self.at("xattrs/link"), "trusted.of a link", b"value", follow_symlinks=False)

    def lists(self):
        self.folder("lists")
        # Version 2, then tag, permissions and identifier of each entry (acl(5)).
        def packed(entries):
            numbers = [(2, 4)] + [pair for entry in entries for pair in zip(entry, (2, 2, 4))]
            return b"".join(number.to_bytes(size, "little") for number, size in numbers)

        nobody = 0xFFFFFFFF
        access = [(1, 6, nobody), (2, 4, 1001), (2, 7, 1002), (4, 4, nobody), (8, 5, 7), (16, 7, nobody), (32, 4, nobody)]
        for number in range(3):
            self.write("lists/%d" % number, b"listed\n")
            os.setxattr(self.at("lists/%d" % number), "system.posix_acl_access", packed(access))
        self.folder("lists/directory")
        os.setxattr(self.at("lists/directory"), "system.posix_acl_default", packed(access))
        self.write("lists/directory/heir", b"inherits\n")

    def times(self):
        self.folder("times")
        for seconds, nanoseconds in ((0, 0), (1, 999999999), (951782400, 123456789), (2147483647, 0), (4102444800, 5), (-86400, 7)):
            path = "times/%d.%d" % (seconds, nanoseconds)
            self.write(path, b"")
            when = seconds * 10**9 + nanoseconds
            os.utime(self.at(path), ns=(when, when))

    def change(self):
        """What an earlier change has taken away is left alone."""
        record = self.record
        for number, name in enumerate(sorted(self.listed("sizes"))):
            path = "sizes/" + name
            size = os.lstat(self.at(path)).st_size
            what = number % 6
            if what == 0:
                os.unlink(self.at(path))
            elif what == 1 and size:
                self.write(path, self.random.noise(1 + self.random.below(size)), self.random.below(size))
            elif what == 2:
                self.write(path, self.random.mixed(record // 2 + 9), size)
            elif what == 3:
                os.truncate(self.at(path), size // 2)
            elif what == 4:
                os.rename(self.at(path), self.at("renamed-" + name))
        for name in self.listed("many")[::2]:
            os.unlink(self.at("many/" + name))
        for number in range(100):
            self.write("fat/%d-new" % number, b"%d\n" % number)
        os.truncate(self.at("holes/far"), 1 << 20)
        self.write("holes/nothing", self.random.noise(record + 1), 50 * record)
        if os.path.lexists(self.at("holes/zeros")):
            os.unlink(self.at("holes/zeros"))
            os.unlink(self.at("links/second"))
            os.rename(self.at("links/third"), self.at("deep/third"))
            self.folder("new")
        for size in (100, record, 5 * record + 1):
            self.write("new/%d" % size, self.random.mixed(size))
        if not self.plain:
            os.setxattr(self.at("xattrs/small"), "user.tine0", self.random.noise(5000))
            for number in (1, 2, 3):
                if b"user.tine%d" % number in map(os.fsencode, os.listxattr(self.at("xattrs/several"))):
                    os.removexattr(self.at("xattrs/several"), "user.tine%d" % number)
                    break


def clone(source, target):
    os.mkdir(target)
    for name in os.listdir(source):
        with open(os.path.join(source, name), "rb") as old, open(os.path.join(target, name), "xb") as new:
            left = os.fstat(old.fileno()).st_size
            while left:
                done = os.copy_file_range(old.fileno(), new.fileno(), left)
                if not done:
                    raise OSError("%s: nothing was copied" % name)
                left -= done


def volume(device, seed):
    random = Random(seed)
    with open(device, "r+b", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        for number in range(12):
            file.seek(random.below(size // 4096 - 40) * 4096)
            file.write((random.noise, random.text, bytes)[number % 3](4096 * (1 + random.below(30))))
        os.fsync(file.fileno())


def main():
    match sys.argv[1:]:
        case ["fill", root, *words]:
            Tree(root, words).fill()
        case ["change", root, *words]:
            Tree(root, words).change()
        case ["clone", source, target]:
            clone(source, target)
        case ["volume", device, seed]:
            volume(device, int(seed))
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
