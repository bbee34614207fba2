-- What wrk sends, and what it reports: one line of JSON.
--
--   wrk … <url> -- <seconds>          purchases at the maximum rate
--   wrk … <url> -- <seconds> <rate>   purchases at a fixed rate per second and thread
--   wrk … <url> --                    reads
--
-- At its deadline wrk drops the requests in flight, so it would be unknown whether these purchases were stored. This
-- script stops sending before wrk ends: after `seconds`, request() returns nothing. wrk then sends nothing more and
-- still receives the answers to the requests in flight. So each purchase is counted as acknowledged or as an error.

local ffi = require("ffi")
local bit = require("bit")

ffi.cdef [[
  typedef struct { long seconds; long nanoseconds; } instant;
  int clock_gettime(int clock, instant *now);
]]

local MONOTONIC = 1
local instant = ffi.new("instant")

local function now()
  ffi.C.clock_gettime(MONOTONIC, instant)
  return tonumber(instant.seconds) + tonumber(instant.nanoseconds) * 1e-9
end

-- Each thread has its own Lua state. With the same seed all of them would send the same keys.
local function seed()
  local random = assert(io.open("/dev/urandom", "rb"))
  local bytes = random:read(6)
  random:close()
  local number = 0
  for index = 1, #bytes do
    number = number * 256 + bytes:byte(index)
  end
  math.randomseed(number)
end

-- One complete request per licence. Only the key is overwritten in place: building a string for each request would cost
-- the generator more CPU time than the service needs to answer it.
local LICENSES = { "basic", "pro", "enterprise" }
local BLANK_KEY = "00000000-0000-4000-8000-000000000000"
local DIGITS = ffi.new("uint8_t[16]", { ("0123456789abcdef"):byte(1, 16) })
-- Offsets of the random digits in a version 4 UUID. The digit at offset 19 holds the variant.
local PLACES = ffi.new("uint8_t[30]",
  { 0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 15, 16, 17, 20, 21, 22, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35 })
local VARIANT = 19

local templates = {}

local function write_templates()
  for index, license in ipairs(LICENSES) do
    local headers = { ["Content-Type"] = "application/json", ["Idempotency-Key"] = BLANK_KEY }
    local text = wrk.format("POST", nil, headers, '{"license":"' .. license .. '"}')
    local buffer = ffi.new("uint8_t[?]", #text + 1)
    ffi.copy(buffer, text)
    templates[index] = { buffer = buffer, length = #text, key = text:find(BLANK_KEY, 1, true) - 1 }
  end
end

local function purchase()
  local template = templates[math.random(#LICENSES)]
  local key = template.buffer + template.key
  local random = 0
  for index = 0, 29 do
    if index % 7 == 0 then
      random = math.random(0, 0xfffffff)
    end
    key[PLACES[index]] = DIGITS[bit.band(random, 15)]
    random = bit.rshift(random, 4)
  end
  key[VARIANT] = DIGITS[8 + math.random(0, 3)]
  return ffi.string(template.buffer, template.length)
end

local threads = {}

function setup(thread)
  -- Before it starts the threads, wrk calls request() once on the first one to check its syntax.
  thread:set("handed_out", #threads == 0 and -1 or 0)
  table.insert(threads, thread)
end

local ends_at

local function send_purchases(seconds)
  write_templates()
  function request()
    ends_at = ends_at or now() + seconds
    if now() >= ends_at then
      return ""
    end
    handed_out = handed_out + 1
    return purchase()
  end
end

-- Requests arrive as a Poisson process that does not depend on the answers; any free connection sends the next one. As
-- long as there are free connections, a slow answer delays no other request.
local function keep_to_rate(rate)
  local due
  function delay()
    due = (due or now()) - math.log(1 - math.random()) / rate
    return math.max(0, (due - now()) * 1000)
  end
end

function init(arguments)
  seed()
  sending_s = tonumber(arguments[1])
  if sending_s then
    send_purchases(sending_s)
  end
  if arguments[2] then
    keep_to_rate(tonumber(arguments[2]))
  end
end

function done(summary, latency, _)
  local sent = 0
  for _, thread in ipairs(threads) do
    sent = sent + thread:get("handed_out")
  end
  local errors = summary.errors
  local line = '{"sent":%d,"answered":%d,"refused":%d,"broken":%d,"late":%d,"rate":%.3f,'
    .. '"p50_ms":%.3f,"p99_ms":%.3f,"p999_ms":%.3f}\n'
  io.write(line:format(
    sent, summary.requests, errors.status, errors.connect + errors.read + errors.write, errors.timeout,
    summary.requests / (threads[1]:get("sending_s") or summary.duration / 1e6),
    latency:percentile(50) / 1000, latency:percentile(99) / 1000, latency:percentile(99.9) / 1000))
end
