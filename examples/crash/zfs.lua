-- ZFS pools as the kernel had them: state, transaction groups, devices with their errors, the cache.
--
--   tine crash vmcore.0 lua zfs.lua

if not kernel.spa_namespace_avl then
  print("ZFS: not in this kernel, or the symbols of its module were not found")
  return
end

local STATES = { [0] = "unknown", "closed", "offline", "removed", "cannot open", "faulted", "degraded", "healthy" }

local function show_device(vdev, depth)
  local name = vdev.vdev_path and mem.string(vdev.vdev_path)
    or (vdev.vdev_ops and mem.string(ref(vdev.vdev_ops, "vdev_op_type"))) or "?"
  local stat = vdev.vdev_stat
  printf("%s%s  %s  errors: %d read, %d write, %d checksum\n", ("  "):rep(depth), plain(name),
    STATES[vdev.vdev_state] or vdev.vdev_state, stat.vs_read_errors, stat.vs_write_errors, stat.vs_checksum_errors)
  for child = 0, vdev.vdev_children - 1 do
    show_device(vdev.vdev_child[child], depth + 1)
  end
end

for spa in avl(kernel.spa_namespace_avl, "struct spa") do
  printf("%s: %s\n", plain(spa.spa_name), enum(spa, "spa_state") or spa.spa_state)
  local pool = spa.spa_dsl_pool
  if pool then
    local tx = pool.dp_tx
    printf("  txg open %d, quiesced %d, syncing %d, synced %d\n", tx.tx_open_txg, tx.tx_quiesced_txg,
      tx.tx_syncing_txg, tx.tx_synced_txg)
  end
  if spa.spa_root_vdev then show_device(spa.spa_root_vdev, 1) end
end
