-- What the kernel printed last, out of its message buffer (sys/msgbuf.h).
--
--   tine crash vmcore.0 lua msgbuf.lua

local buffer = kernel.msgbufp
if not buffer then
  print("there is no message buffer in this dump")
  return
end

-- The buffer is a ring: what is written next takes the place of the oldest.
local text = mem.bytes(buffer.msg_ptr, buffer.msg_size)
local oldest = buffer.msg_wseq % buffer.msg_size
text = text:sub(oldest + 1) .. text:sub(1, oldest)

-- What was never written is zero, and messages of programs begin with their priority.
text = text:gsub("\0", "")
for line in text:gmatch("[^\n]+") do
  print((line:gsub("^<%d+>", "")))
end
