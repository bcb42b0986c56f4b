-- TCP connections, and the events that the kernel's black box logged for them (option TCP_BLACKBOX, tcp(4) TCP_LOG).
--
--   tine crash vmcore.0 lua tcplog.lua

local STATES = { [0] = "CLOSED", "LISTEN", "SYN_SENT", "SYN_RECEIVED", "ESTABLISHED", "CLOSE_WAIT", "FIN_WAIT_1",
  "CLOSING", "LAST_ACK", "FIN_WAIT_2", "TIME_WAIT" }
local INP_IPV6, INP_TIMEWAIT = 0x2, 0x1000000

local function port(big_endian)
  return (big_endian & 0xff) << 8 | big_endian >> 8
end

local function host(ends, field, is_ipv6)
  local bytes = mem.bytes(ref(ends, field), 16)
  if not is_ipv6 then return ("%d.%d.%d.%d"):format(bytes:byte(13, 16)) end
  local words = { string.unpack(">I2I2I2I2I2I2I2I2", bytes) }
  words[9] = nil
  for i, word in ipairs(words) do words[i] = ("%x"):format(word) end
  return "[" .. table.concat(words, ":") .. "]"
end

-- A connection's control block: within its pcb since FreeBSD 14, behind a pointer before.
local function tcpcb(inp)
  if has(inp, "inp_ppcb") then
    if has(inp, "inp_flags") and inp.inp_flags & INP_TIMEWAIT ~= 0 then return nil end
    return inp.inp_ppcb and cast(inp.inp_ppcb, "struct tcpcb *")
  end
  return containerof(inp, "struct tcpcb", "t_inpcb")
end

if not kernel.tcbinfo then
  print("TCP: not in this kernel")
  return
end
local is_logged = has("struct tcpcb", "t_logs") and has("struct tcp_log_mem", "tlm_buf")

local count = 0
for inp in list(kernel.tcbinfo.ipi_listhead, "inp_list") do
  local ends, tp = inp.inp_inc.inc_ie, tcpcb(inp)
  local is_ipv6 = inp.inp_vflag & INP_IPV6 ~= 0
  local state = tp and (STATES[tp.t_state] or tp.t_state) or "TIME_WAIT"
  printf("%s:%d - %s:%d  %s\n", host(ends, "ie_dependladdr", is_ipv6), port(ends.ie_lport),
    host(ends, "ie_dependfaddr", is_ipv6), port(ends.ie_fport), state)
  count = count + 1
  if is_logged and tp then
    for entry in list(tp.t_logs, "tlm_queue") do
      local log = entry.tlm_buf
      local event = enum("enum tcp_log_events", log.tlb_eventid) or ("event " .. log.tlb_eventid)
      printf("  %6d  %d.%06d  %-16s %-12s len %-6d snd_una %u snd_max %u rcv_nxt %u cwnd %u\n", log.tlb_sn,
        log.tlb_tv.tv_sec, log.tlb_tv.tv_usec, event, STATES[log.tlb_state] or log.tlb_state, log.tlb_len,
        log.tlb_snd_una, log.tlb_snd_max, log.tlb_rcv_nxt, log.tlb_snd_cwnd)
    end
  end
end
printf("%d connections\n", count)
if not is_logged then
  print("logs: not in this kernel, which was built without TCP_BLACKBOX")
end
