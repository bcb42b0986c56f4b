#!/usr/bin/env python3
"""Makes of a pool's image, which a little-endian machine wrote, what a big-endian one would have written.

usage: swap-bytes.py IN OUT [ASHIFT]

Each block that the newest uberblock leads to is read, its pointers are followed, its contents are swapped as
`dmu_ot_byteswap` says (OpenZFS, module/zfs/dmu.c), and it is written where it was, with a new checksum. Compressed
blocks are compressed again, to no more than they took. The pool is on one disk; no block is encrypted or a gang block.
"""
import hashlib
import struct
import sys

import lz4.block

LABEL, START = 256 << 10, 4 << 20
U8, U16, U32, U64, ZAP, DNODE, OBJSET, ZNODE, OLD_ACL, ACL, SA = range(11)
# By the numbers of `dmu_object_type`.
TYPES = ([U8, ZAP, U64, U8, U64, U64, U64, U64, U64, U64, DNODE, OBJSET, U64, ZAP, ZAP, ZAP, U64, ZNODE, OLD_ACL, U8]
         + [ZAP, ZAP, ZAP, U8, ZAP, U8, U64, ZAP, ZAP, U8, U64, ZAP, ZAP, ACL, U8, U8, U64, ZAP, ZAP, ZAP, ZAP, ZAP]
         + [ZAP, ZAP, SA, ZAP, ZAP, ZAP, ZAP, U8, ZAP, U64, ZAP, U64])
DSL_DATASET = 16


def kind(object_type):
    return object_type & 31 if object_type & 128 else TYPES[object_type]


def words(data, at=0, count=None):
    return list(struct.unpack_from('<%dQ' % (len(data[at:]) // 8 if count is None else count), data, at))


def swapped(data, width=8):
    out = bytearray(data)
    whole = len(out) // width * width
    for byte in range(width):
        out[byte:whole:width] = data[width - 1 - byte:whole:width]
    return out


def swap_fields(out, at, *widths):
    for width in widths:
        out[at:at + width] = out[at:at + width][::-1]
        at += width


def swap_zap(data):
    kind_of_block = words(data, 0, 1)[0]
    if kind_of_block not in (1 << 63 | 3, 1 << 63):
        return swapped(data)
    out = bytearray(data)
    if kind_of_block == 1 << 63 | 3:
        swap_fields(out, 0, 8, 8, 8)
        for at in range(64, len(out), 64):
            swap_fields(out, at, 8, 4)
        return out
    swap_fields(out, 0, 8, 8, 8, 4, 2, 2, 2, 2)
    buckets = len(out) >> 5
    swap_fields(out, 48, *[2] * buckets)
    for at in range(48 + 2 * buckets, len(out) - 23, 24):
        if out[at] == 252:
            swap_fields(out, at + 2, 2, 2, 2, 2, 2, 4, 8)
        else:
            swap_fields(out, at + 22, 2)
    return out


def swap_acl(data):
    """Entries of type, flags and mask; those for a user or group with a number have it, too (`zfs_ace_byteswap`)."""
    out, at = bytearray(data), 0
    while at + 8 <= len(out):
        ace_type, flags = struct.unpack_from('<HH', data, at)
        swap_fields(out, at, 2, 2, 4)
        at += 8
        if flags & 0x7040 in (0, 0x40):
            swap_fields(out, at, 8)
            at += 8 + (32 if 5 <= ace_type <= 8 else 0)
    return out


class Pool:
    def __init__(self, image):
        self.source, self.image = bytes(image), image
        self.done = {}
        self.layouts = {}

    # Reading as a little-endian machine.

    def stored(self, pointer):
        prop = pointer[6]
        size = ((prop >> 16 & 0xffff) + 1) << 9
        at = (pointer[1] & (1 << 63) - 1) * 512 + START
        return self.source[at:at + size]

    def read(self, pointer):
        prop = pointer[6]
        if prop >> 39 & 1:
            size, stored_size = (prop & 0x1ffffff) + 1, (prop >> 25 & 0x7f) + 1
            parts = pointer[0:6] + pointer[7:10] + pointer[11:16]
            stored = struct.pack('<14Q', *parts)[:stored_size]
        else:
            size, stored = ((prop & 0xffff) + 1) << 9, self.stored(pointer)
        function = prop >> 32 & 0x7f
        if function == 2:
            return stored[:size]
        assert function == 15, 'compression %d' % function
        length = struct.unpack('>I', stored[:4])[0]
        return lz4.block.decompress(stored[4:4 + length], uncompressed_size=size)

    def object(self, meta, number):
        return self.contents(meta, number * 512, 512)

    def contents(self, dnode, offset, length):
        """Bytes of an object."""
        size = struct.unpack_from('<H', dnode, 8)[0] * 512
        out = b''
        while length:
            block = self.block(dnode, offset // size, size)
            part = block[offset % size:][:length]
            out, offset, length = out + part, offset + len(part), length - len(part)
        return out

    def block(self, dnode, number, size):
        levels, shift = dnode[2], dnode[1] - 7
        pointers = words(dnode, 64, 16 * dnode[3])
        for level in range(levels - 1, -1, -1):
            at = number >> shift * level & (((1 << shift) - 1) if level < levels - 1 else -1)
            pointer = pointers[16 * at:16 * at + 16]
            if not pointer[10]:
                return bytes(size)
            pointers = words(self.read(pointer)) if level else None
        return self.read(pointer)

    def zap(self, dnode):
        """The entries of a ZAP, each a list of big-endian bytes in pieces."""
        size = struct.unpack_from('<H', dnode, 8)[0] * 512
        first = self.block(dnode, 0, size)
        if words(first, 0, 1)[0] == 1 << 63 | 3:
            chunks = (first[at:at + 64] for at in range(64, size, 64))
            return {c[14:].split(b'\0')[0]: [c[:8][::-1]] for c in chunks if c[14]}
        entries = {}
        for number in range(1, struct.unpack_from('<Q', dnode, 16)[0] + 1):
            leaf = self.block(dnode, number, size)
            if words(leaf, 0, 1)[0] != 1 << 63:
                continue
            start = 48 + 2 * (size >> 5)
            chunk = lambda index: leaf[start + 24 * index:start + 24 * index + 24]

            def array(index, length):
                out = b''
                while len(out) < length:
                    out += chunk(index)[1:22]
                    index = struct.unpack_from('<H', chunk(index), 22)[0]
                return out[:length]

            for at in range(start, size - 23, 24):
                entry = leaf[at:at + 24]
                if entry[0] == 252:
                    width, _, name, name_length, value, count = struct.unpack_from('<BHHHHH', entry, 1)
                    bytes_of = array(value, width * count)
                    entries[array(name, name_length)[:-1]] = [bytes_of[i:i + width] for i in range(0, width * count, width)]
        return entries

    def sa_layouts(self, meta):
        """By number, for each attribute of a layout its length (0: variable) and how it is swapped."""
        number = lambda value: int.from_bytes(value[0], 'big')
        master = self.zap(self.object(meta, 1))
        if b'SA_ATTRS' not in master:
            return {}
        attributes = self.zap(self.object(meta, number(master[b'SA_ATTRS'])))
        registry = self.zap(self.object(meta, number(attributes[b'REGISTRY'])))
        known = {}
        for value in map(number, registry.values()):
            known[value & 0xffff] = (value >> 24 & 0xffff, (U64, U32, U16, U8, ACL)[value >> 16 & 0xff])
        layouts = self.zap(self.object(meta, number(attributes[b'LAYOUTS'])))
        return {int(name): [known[int.from_bytes(one, 'big')] for one in value] for name, value in layouts.items()}

    # Swapping.

    def swap_sa(self, data):
        if struct.unpack_from('<I', data)[0] != 0x2F505A:
            return bytearray(data)
        out = bytearray(data)
        layout = struct.unpack_from('<H', data, 4)[0]
        at = (layout >> 10) << 3
        lengths = [struct.unpack_from('<H', data, offset)[0] for offset in range(6, at, 2)]
        swap_fields(out, 0, 4, 2, *[2] * len(lengths))
        for length, how in self.layouts[layout & 0x3ff]:
            length = length or lengths.pop(0)
            value = bytes(data[at:at + length])
            out[at:at + length] = self.swap(how, value)
            at += (length + 7) & ~7
        return out

    def swap(self, how, data):
        width = {U8: 1, U16: 2, U32: 4, U64: 8}.get(how)
        if width:
            return swapped(data, width)
        if how == ZAP:
            return swap_zap(data)
        if how == ACL:
            return swap_acl(data)
        if how == SA:
            return self.swap_sa(data)
        if how == DNODE:
            return self.swap_dnodes(data)
        raise SystemExit('a block of kind %d' % how)

    def swap_dnodes(self, data):
        out, at = bytearray(), 0
        while at < len(data):
            size = 512 * (data[at + 12] + 1) if data[at] else 512
            out += self.swap_dnode(bytearray(data[at:at + size])) if data[at] else data[at:at + size]
            at += size
        return out

    def swap_dnode(self, dnode):
        spill = dnode[7] & 4
        bonus, end = 64 + 128 * dnode[3], len(dnode) - (128 if spill else 0)
        for at in [64 + 128 * index for index in range(dnode[3])] + ([end] if spill else []):
            dnode[at:at + 128] = swapped(struct.pack('<16Q', *self.convert(words(dnode, at, 16))))
        length = struct.unpack_from('<H', dnode, 10)[0]
        if dnode[4] == DSL_DATASET and length:
            dnode[bonus + 128:bonus + 256] = struct.pack('<16Q', *self.convert(words(dnode, bonus + 128, 16)))
        if length:
            dnode[bonus:end] = self.swap(kind(dnode[4]), bytes(dnode[bonus:end]))
        swap_fields(dnode, 8, 2, 2)
        swap_fields(dnode, 16, 8, 8)
        return dnode

    def swap_objset(self, data):
        before, self.layouts = self.layouts, {}
        if words(data, 704, 1)[0] == 2:
            self.layouts = self.sa_layouts(data[:512])
        out = bytearray(data)
        out[:512] = self.swap_dnode(bytearray(data[:512]))
        out[512:720] = swapped(data[512:720])
        for at in range(1024, len(data), 512):
            if data[at]:
                out[at:at + 512] = self.swap_dnode(bytearray(data[at:at + 512]))
        self.layouts = before
        return out

    def swap_block(self, pointer, data):
        object_type, level = pointer[6] >> 48 & 0xff, pointer[6] >> 56 & 0x1f
        if level:
            pointers = [self.convert(words(data, at, 16)) for at in range(0, len(data), 128)]
            return swapped(b''.join(struct.pack('<16Q', *pointer) for pointer in pointers))
        return self.swap_objset(data) if kind(object_type) == OBJSET else self.swap(kind(object_type), data)

    def swap_stored(self, pointer):
        prop = pointer[6]
        if kind(prop >> 48 & 0xff) == U8 and not prop >> 56 & 0x1f:
            return self.stored(pointer)
        data = bytes(self.swap_block(pointer, self.read(pointer)))
        return data if prop >> 32 & 0x7f == 2 else self.compressed(data)

    def convert(self, pointer):
        """Swaps the block that a pointer leads to, and gives the pointer to what it is then."""
        prop = pointer[6]
        if not pointer[10] and not prop:
            return pointer
        big = list(pointer)
        big[6] = prop & ~(1 << 63)
        if prop >> 39 & 1:
            if kind(prop >> 48 & 0xff) == U8:
                return big
            data = bytes(self.swap_block(pointer, self.read(pointer)))
            size, function = (prop >> 25 & 0x7f) + 1, prop >> 32 & 0x7f
            stored = data if function == 2 else self.compressed(data)
            assert len(stored) <= 112, 'an embedded block does not fit any more'
            parts = words(stored.ljust(112, b'\0'))
            big[6] = big[6] & ~(0x7f << 25) | (len(stored) - 1) << 25
            big[0:6], big[7:10], big[11:16] = parts[:6], parts[6:9], parts[9:]
            return big
        if pointer[0:2] == [0, 0]:
            return big
        assert not pointer[1] >> 63 and not prop >> 61 & 1, 'a gang block, or an encrypted one'
        key = (pointer[1], pointer[9] or pointer[10])
        if key not in self.done:
            size = ((prop >> 16 & 0xffff) + 1) << 9
            stored = self.swap_stored(pointer)
            assert len(stored) <= size, '%d bytes of type %d do not fit into %d' % (len(stored), prop >> 48 & 0xff, size)
            stored = stored.ljust(size, b'\0')
            for dva in range(0, 6, 2):
                if pointer[dva]:
                    at = pointer[dva + 1] * 512 + START
                    self.image[at:at + size] = stored
            self.done[key] = checksum(prop >> 40 & 0xff, stored)
        big[12:16] = self.done[key]
        return big

    @staticmethod
    def compressed(data):
        best = lz4.block.compress(data, mode='high_compression', compression=12, store_size=False)
        return struct.pack('>I', len(best)) + best


def checksum(function, data):
    if function in (7, 1):
        a = b = c = d = 0
        for word in struct.unpack('>%dI' % (len(data) // 4), data):
            a += word
            b += a
            c += b
            d += c
        return [n & (1 << 64) - 1 for n in (a, b, c, d)]
    assert function == 8, 'checksum %d' % function
    return list(struct.unpack('>4Q', hashlib.sha256(data).digest()))


def seal(block, offset):
    """Puts the checksum of a part of a label at its end."""
    body = bytes(block[:-40]) + struct.pack('>Q', 0x0210da7ab10c7a11)
    digest = hashlib.sha256(body + struct.pack('>4Q', offset, 0, 0, 0)).digest()
    return body + digest


def main():
    with open(sys.argv[1], 'rb') as file:
        image = bytearray(file.read())
    pool, count = Pool(image), len(image) // LABEL
    labels = [0, LABEL, (count - 2) * LABEL, (count - 1) * LABEL]
    newest = None
    size = max(1 << 10, 1 << int(sys.argv[3]) if len(sys.argv) > 3 else 1 << 12)
    for at in range(128 << 10, 256 << 10, size):
        uberblock = bytes(image[at:at + size])
        if words(uberblock, 0, 1)[0] == 0xbab10c and (newest is None or words(uberblock, 16, 1) > words(newest, 16, 1)):
            newest, slot = uberblock, at
    root = pool.convert(words(newest, 40, 16))
    newest = bytes(swapped(newest[:40] + struct.pack('<16Q', *root) + newest[168:]))
    for label in labels:
        image[label + (128 << 10):label + (256 << 10)] = bytes(128 << 10)
        image[label + slot:label + slot + size] = seal(newest, label + slot)
        config = bytes(image[label + (16 << 10):label + (128 << 10)])
        image[label + (16 << 10):label + (128 << 10)] = seal(config, label + (16 << 10))
    with open(sys.argv[2], 'wb') as file:
        for at in range(0, len(image), 4096):
            part = image[at:at + 4096]
            if any(part):
                file.seek(at)
                file.write(part)
        file.truncate(len(image))


main()
