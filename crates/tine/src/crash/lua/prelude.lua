-- What is simpler in Lua. It runs before a script, in the same place: names that a script is not to see are local.
local errortext, stopped, elements, frames_of, registers_of = errortext, stopped, elements, frames_of, registers_of
local panicked_tid, raw_pcall, raw_setmetatable, raw_resume = panicked, pcall, setmetatable, coroutine.resume
for _, name in ipairs({ "errortext", "stopped", "frames_of", "registers_of", "panicked" }) do _G[name] = nil end

-- A script that was ended does not go on by catching that.
local function caught(ok, ...)
  if ok then return true, ... end
  local text = errortext((...))
  if stopped() then error(text, 0) end
  if type((...)) == "table" then return false, ... end
  return false, text
end

function pcall(f, ...)
  return caught(raw_pcall(f, ...))
end

function xpcall(f, handler, ...)
  local results = table.pack(pcall(f, ...))
  if results[1] then return table.unpack(results, 1, results.n) end
  return false, handler(results[2])
end

function coroutine.resume(...)
  return caught(raw_resume(...))
end

-- Finalizers run where no limit ends them.
function setmetatable(t, meta)
  if type(meta) == "table" and rawget(meta, "__gc") ~= nil then error("finalizers (__gc) are not available", 2) end
  return raw_setmetatable(t, meta)
end

function printf(format, ...)
  write(string.format(format, ...))
end

-- Iterates over a SLIST, LIST, STAILQ, TAILQ or RB tree; `field` names the entry in an element.
function list(head, field)
  local all, broken = elements(head, field)
  local at = 0
  return function()
    at = at + 1
    if at == #all + 1 and broken then warn("the list ends too early: " .. broken) end
    return all[at]
  end
end
tree = list

-- Iterates over an AVL tree of illumos (`avl_tree_t`) whose nodes are in structures of a type.
function avl(head, type_name)
  local offset, seen, waiting = head.avl_offset, {}, {}
  local node = head.avl_root
  return function()
    while node do
      local place = addr(node)
      if seen[place] then warn("the tree leads back to " .. hex(place)); node, waiting = nil, {}; return nil end
      seen[place] = true
      waiting[#waiting + 1] = node
      node = node.avl_child[0]
    end
    local found = table.remove(waiting)
    if not found then return nil end
    node = found.avl_child[1]
    return cast(addr(found) - offset, type_name .. " *")
  end
end

-- Iterates over a list of illumos (`list_t`), whose nodes are in structures of a type.
function ilist(head, type_name)
  local offset, first, seen = head.list_offset, addr(ref(head, "list_head")), {}
  local node = head.list_head.list_next
  return function()
    local place = addr(node)
    if place == 0 or place == first then return nil end
    if seen[place] then warn("the list leads back to " .. hex(place)); return nil end
    seen[place] = true
    node = node.list_next
    return cast(place - offset, type_name .. " *")
  end
end

local all
local function known_processes()
  all = all or processes()
  return all
end

-- The process of a number or name.
function process(wanted)
  for _, p in ipairs(known_processes()) do
    if p.pid == wanted or p.name == wanted then return p end
  end
end

-- All threads, or those of a process.
function threads(of)
  if of then
    local p = type(of) == "table" and of or process(of)
    return p and p.threads or {}
  end
  local found = {}
  for _, p in ipairs(known_processes()) do
    for _, t in ipairs(p.threads) do found[#found + 1] = t end
  end
  return found
end

-- The thread of a number; without one, that which panicked.
function thread(tid)
  tid = tid or panicked_tid()
  for _, t in ipairs(threads()) do
    if t.tid == tid then return t end
  end
end

local function as_thread(of, what)
  if type(of) == "table" then return of end
  local found = thread(of)
  if not found then error("there is no thread " .. tostring(of or "that wrote the dump"), 3) end
  return found
end

-- The frames of a thread, the innermost first.
function frames(of)
  return frames_of(as_thread(of))
end

-- The registers of a thread by name.
function registers(of)
  return registers_of(as_thread(of))
end

-- Names that a script does not define are the kernel's.
raw_setmetatable(_G, {
  __index = function(_, name)
    local value = kernel[name]
    if value == nil and type(name) == "string" and not has(name) then
      error("there is no " .. name .. ", neither in the script nor in this kernel", 2)
    end
    return value
  end,
  __metatable = false,
})
