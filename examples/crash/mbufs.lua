-- Sockets with data in their buffers: how many mbufs hold how much, and how it begins.
--
--   tine crash vmcore.0 lua mbufs.lua

local DTYPE_SOCKET, SO_ACCEPTCONN, M_EXT, SOCK_DGRAM = 2, 0x2, 0x1, 2
local AF_UNIX, AF_NETLINK = 1, 38

-- The packets of a socket's buffer: a chain, but for unix(4) lists of its own, for datagrams
-- since FreeBSD 14 and for streams since 15. What netlink(4) queues there since 14 are no mbufs.
local function packets(so, buffer)
  local domain = so.so_proto and so.so_proto.pr_domain
  local family = domain and domain.dom_family
  local list = family == AF_UNIX and (so.so_type == SOCK_DGRAM and "uxdg_mb" or "uxst_mbq")
  if list and has(buffer, list) then
    return buffer[list].stqh_first
  end
  return not (family == AF_NETLINK and has(buffer, "nl_queue")) and buffer.sb_mb or nil
end

local function measure(first)
  local found = { mbufs = 0, clusters = 0, bytes = 0, start = "" }
  local packet, seen = first, 0
  while packet and seen < 100000 do
    local m = packet
    while m and seen < 100000 do
      seen = seen + 1
      found.mbufs = found.mbufs + 1
      found.bytes = found.bytes + m.m_len
      if m.m_flags & M_EXT ~= 0 then found.clusters = found.clusters + 1 end
      if #found.start < 32 and mem.readable(m.m_data, m.m_len) then
        found.start = found.start .. mem.bytes(m.m_data, math.min(m.m_len, 32 - #found.start))
      end
      m = m.m_next
    end
    packet = packet.m_nextpkt
  end
  return found
end

local sum = { sockets = 0, mbufs = 0, bytes = 0 }
local known = {}
for _, p in ipairs(processes()) do
  local files = p.proc.p_fd and p.proc.p_fd.fd_files
  for number = 0, files and files.fdt_nfiles - 1 or -1 do
    local file = files.fdt_ofiles[number].fde_file
    -- What fork(2) copied is one socket.
    if file and file.f_type == DTYPE_SOCKET and file.f_data and not known[addr(file.f_data)] then
      known[addr(file.f_data)] = true
      local so = cast(file.f_data, "struct socket *")
      sum.sockets = sum.sockets + 1
      -- A socket that listens has other things in the place of buffers.
      for _, name in ipairs(so.so_options & SO_ACCEPTCONN == 0 and { "so_rcv", "so_snd" } or {}) do
        local found = measure(packets(so, so[name]))
        if found.mbufs > 0 then
          printf("%d %s fd %d %s: %d bytes in %d mbufs, %d of them clusters: %s\n", p.pid, p.name, number,
            name == "so_rcv" and "received" or "to send", found.bytes, found.mbufs, found.clusters,
            plain(found.start))
          sum.mbufs, sum.bytes = sum.mbufs + found.mbufs, sum.bytes + found.bytes
        end
      end
    end
  end
end
printf("%d sockets, %d bytes in %d mbufs\n", sum.sockets, sum.bytes, sum.mbufs)
