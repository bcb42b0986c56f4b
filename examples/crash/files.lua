-- Processes and what they have open, as fstat(1) and sockstat(1) show it.
--
--   tine crash vmcore.0 lua files.lua [PID|NAME]

local TYPES = { [0] = "none", "vnode", "socket", "pipe", "fifo", "kqueue", "crypto", "mqueue", "shm", "sem", "pts", "dev",
  "procdesc", "eventfd", "timerfd" }
local SOCKETS = { "stream", "dgram", "raw", "rdm", "seqpacket" }
local FAMILIES = { [1] = "unix", [2] = "inet", [28] = "inet6", [17] = "route", [38] = "netlink" }
local VV_ROOT = 0x1

-- The path of a vnode, as far as the name cache knows it.
local function path(vp)
  local names = {}
  for _ = 1, 64 do
    if vp.v_vflag & VV_ROOT ~= 0 then
      local covered = vp.v_mount and vp.v_mount.mnt_vnodecovered
      if not covered then return "/" .. table.concat(names, "/") end
      vp = covered
    else
      local entry = vp.v_cache_dst.tqh_first
      if not entry then break end
      table.insert(names, 1, mem.string(ref(entry, "nc_name"), entry.nc_nlen))
      vp = entry.nc_dvp
    end
  end
  return #names > 0 and ".../" .. table.concat(names, "/") or "?"
end

local function describe_vnode(vp)
  if not vp then return "" end
  local kind = enum(vp, "v_type") or ""
  if kind == "VCHR" and vp.v_rdev then return "/dev/" .. vp.v_rdev.si_name end
  return kind .. " " .. path(vp)
end

local function describe_socket(so)
  local domain = so.so_proto and so.so_proto.pr_domain
  local family = domain and (FAMILIES[domain.dom_family] or domain.dom_family) or "?"
  return family .. " " .. (SOCKETS[so.so_type] or so.so_type)
end

local function describe_file(file)
  local kind = TYPES[file.f_type] or ("type " .. file.f_type)
  if kind == "vnode" or kind == "fifo" then return kind .. " " .. describe_vnode(file.f_vnode) end
  if kind == "socket" and file.f_data then
    return kind .. " " .. describe_socket(cast(file.f_data, "struct socket *"))
  end
  return kind
end

local wanted = arg[1]
for _, p in ipairs(processes()) do
  if not wanted or p.name == wanted or tostring(p.pid) == wanted then
    printf("%d %s (%s), %d threads\n", p.pid, p.name, p.state, #p.threads)
    local fd = p.proc.p_fd
    local files = fd and fd.fd_files
    for number = 0, files and files.fdt_nfiles - 1 or -1 do
      local file = files.fdt_ofiles[number].fde_file
      if file then printf("  %4d  %s\n", number, plain(describe_file(file))) end
    end
  end
end
