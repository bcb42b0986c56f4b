-- File systems and their vnodes: how many of each type, and how many are in use.
--
--   tine crash vmcore.0 lua vnodes.lua

for mp in list(kernel.mountlist, "mnt_list") do
  local stat, types, all, used = mp.mnt_stat, {}, 0, 0
  for vp in list(mp.mnt_nvnodelist, "v_nmntvnodes") do
    local kind = enum(vp, "v_type") or "?"
    types[kind] = (types[kind] or 0) + 1
    all = all + 1
    if vp.v_usecount > 0 then used = used + 1 end
  end
  local names = {}
  for kind, count in pairs(types) do names[#names + 1] = count .. " " .. kind end
  table.sort(names)
  printf("%s on %s (%s): %d vnodes, %d in use%s\n", plain(stat.f_mntfromname), plain(stat.f_mntonname),
    stat.f_fstypename, all, used, #names > 0 and ": " .. table.concat(names, ", ") or "")
end
