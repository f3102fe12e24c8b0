-- The lease window (b2b_async/ratelimit/window.py), kept in Redis and on its clock, changed by one call each.
--
-- Every function here is that of the same name, or of the same comment, in class LeaseWindow, with the same numbers; a test compares every
-- decision of the two. What is different: slots are known by ids, so that a request may be sent twice and still count
-- once; a slot that nobody gives back in time counts as given up, so that a process that was killed blocks nobody; and
-- the books know when something of them is missing: then their epoch changes, and each process tells again what it holds.
-- Until all that were known have told, for a window at most, those who have may only use again what they held; for what
-- the others may hold is not known. Where Redis has lost everything, it is not known either how many the others are: a
-- process that holds something asks four times in GRACE windows, and until these are over nothing more is granted.
--
-- KEYS: the processes, a marker that stays as long as Redis loses nothing, then for each quota (the store's; perhaps the
--       endpoint's) its fields, leases and flights.
-- ARGV: verb, time or "" for the server's clock, process, lane, id, seconds after which a flight counts as given up,
--       random number in [0, 1), number of quotas, number of processes that the caller knows of, then TERMS values for each
--       quota, then what the verb needs.
-- Returns numbers as strings: see `answer`.

local INF = math.huge
local MARGIN, UNDER_WAY, COLD, CALM = 1 / 600, 1 / 12, 5, 5.0
local ROOM_PART, ROOM_HALF_LIFE, BURST_MEMORY = 0.15, 10.0, 1 / 6
local PROBE, JITTER = 1 / 12, 1 / 120
local SHRINK, GROW, LEAST, LEARNED_GROWTH, LEAST_LEARNED = 0.7, 0.01, 0.05, 1.02, 0.05
local DOUBTS, WARY, APPROACH = 2, 2, 10
local TERMS = 11
local OVERLOAD_MOST, OVERLOAD_SPEED, ENOUGH_DOUBLINGS, LONGEST_HOLD = 60.0, 0.5, 100, 120.0
local KEPT_WINDOWS = 65 -- a quota that is not used for longer is forgotten
local GRACE = 1 / 30 -- of a window; more than it takes each process to notice that Redis has lost its data
local BACKWARDS = 1.0 -- seconds by which a clock may go back before nothing that is written down can be believed

local process, lane, id = ARGV[3], ARGV[4], ARGV[5]
local dead_after, uniform = tonumber(ARGV[6]), tonumber(ARGV[7])
local bulk = lane == 'bulk'
local now
if ARGV[2] ~= '' then
  now = tonumber(ARGV[2])
else
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1e6
end

local function number(value)
  return string.format('%.17g', value)
end

-- Numbers in the fields of a quota. Infinity is written as no field at all.
local START = {
  limit = 0, window = 0, epoch = 0, epoch_at = -INF, grace_until = -INF, expected = 0, pool = 0, version = 0, held = 0, last = 0, granted = 0, completed = 0, released = 0, foreign = 0, heard_at = -INF,
  bare = 0, counts_before = 0, held_until = -INF, held_since = -INF, slow_until = -INF,
  accepted = 0, row = 0, row_since = -INF, tested_at = -INF, row_unnamed = 0, row_contradicts = 0, row_used_up = 0, mark_at = -INF, mark = 0, accepted_before = 0, accepted_in = 0,
  wary_until = -INF, doubts = 0, claimed_limit = 0, claimed_window = 0, probe_at = -INF, probe_gap = 0, calm_until = -INF, interactive_until = -INF, last_bulk = -INF,
  room = 0, room_at = -INF, burst = 0, burst_at = -INF, cap = 1, cap_at = -INF,
}

local Book = {}
Book.__index = Book

function Book:new_epoch(grace)
  self.epoch, self.epoch_at = math.floor(uniform * 2 ^ 52) + 1, now
  self.expected = self.is_store and math.max(tonumber(ARGV[9]), redis.call('ZCARD', KEYS[1])) or 0
  self.grace_until = self.is_store and grace and now + self.window * GRACE or now
  self.pool = self:known()
  for name in pairs(self.told) do
    redis.call('HDEL', self.fields, name)
  end
  self.told, self.told_count = {}, 0
end

-- The requests that are known to hold a slot.
function Book:known()
  return redis.call('ZCARD', self.leases) + redis.call('ZCARD', self.flights)
end

-- Whether other processes may hold slots that are not known here.
function Book:is_partial()
  return now < self.grace_until
    or (self.told_count < self.expected and now < self.epoch_at + self.window * (1 + MARGIN + UNDER_WAY))
end

local function open(place)
  local key, argument = 3 + place * 3, 10 + place * TERMS
  local self = setmetatable({fields = KEYS[key], leases = KEYS[key + 1], flights = KEYS[key + 2]}, Book)
  self.share, self.headroom_least = tonumber(ARGV[argument + 2]), tonumber(ARGV[argument + 3])
  self.reserve, self.concurrency = tonumber(ARGV[argument + 4]), tonumber(ARGV[argument + 5])
  self.cold = ARGV[argument + 7] == '0.0'
  self.paced_part, self.overload = tonumber(ARGV[argument + 6]), tonumber(ARGV[argument + 8])
  self.known_limit, self.known_window = tonumber(ARGV[argument + 9]), tonumber(ARGV[argument + 10])
  for name, value in pairs(START) do
    self[name] = value
  end
  local stored = redis.call('HGETALL', self.fields)
  self.is_store, self.told, self.told_count = place == 0, {}, 0
  for index = 1, #stored, 2 do
    self[stored[index]] = tonumber(stored[index + 1]) or stored[index + 1]
  end
  for index = 1, #stored, 2 do
    if string.sub(stored[index], 1, 5) == 'told:' then
      self.told[stored[index]] = true
      self.told_count = self.told_count + 1
    end
  end
  if #stored == 0 or now < self.last - BACKWARDS then
    if #stored > 0 then
      redis.call('DEL', self.fields, self.leases, self.flights)
      if place == 0 then
        redis.call('DEL', KEYS[1]) -- its times are of the old clock, too
      end
      for name, value in pairs(START) do
        self[name] = value
      end
    end
    self.limit, self.window = tonumber(ARGV[argument]), tonumber(ARGV[argument + 1])
    self.bare = tonumber(ARGV[argument + 7])
    -- What was not used for long has expired; where nothing at all is left, Redis has lost it.
    self:new_epoch(#stored > 0 or redis.call('EXISTS', KEYS[2]) == 0)
    self.granted = redis.call('ZCARD', self.flights) -- which may be left of books that were thrown away in part
    self.probe_gap = self.window * PROBE
  elseif self:known() < self.held then
    self:new_epoch(true) -- the server was short of memory and threw a part away
  end
  now = math.max(now, self.last)
  self.last = now
  return self
end

function Book:save()
  self.version = self.version + 1
  self.held = self:known()
  local fields = {}
  for name in pairs(START) do
    local value = self[name]
    if value ~= INF and value ~= -INF then
      fields[#fields + 1] = name
      fields[#fields + 1] = number(value)
    end
  end
  redis.call('HSET', self.fields, unpack(fields))
  local milliseconds = math.ceil((self.window * KEPT_WINDOWS + dead_after) * 1000)
  for _, key in ipairs({self.fields, self.leases, self.flights}) do
    redis.call('PEXPIRE', key, milliseconds)
  end
end

function Book:expire()
  local dead = redis.call('ZRANGEBYSCORE', self.flights, '-inf', number(now), 'WITHSCORES')
  for index = 1, #dead, 2 do
    redis.call('ZREM', self.flights, dead[index])
    local ending = tonumber(dead[index + 1]) + self.window * (1 + MARGIN + UNDER_WAY)
    redis.call('ZADD', self.leases, number(ending), dead[index])
    self.completed = self.completed + 1
  end
  self.released = self.released + redis.call('ZREMRANGEBYSCORE', self.leases, '-inf', number(now))
end

function Book:count()
  self.in_flight = redis.call('ZCARD', self.flights)
  self.active = redis.call('ZCARD', self.leases) + self.in_flight
  local next_lease = redis.call('ZRANGE', self.leases, 0, 0, 'WITHSCORES')
  self.next_lease = next_lease[2] and tonumber(next_lease[2]) or INF
end

function Book:headroom()
  local decay = 2 ^ ((self.room_at - now) / (self.window * ROOM_HALF_LIFE))
  return math.max(self.headroom_least, self.room * decay)
end

function Book:capacity()
  local speed = now < self.slow_until and OVERLOAD_SPEED or 1.0
  local limit = self.limit * math.max(1, self.cap) -- a learned limit grows beyond itself
  local capacity = math.max(1, math.floor(limit * math.min(self.share, self.cap, speed) + 1e-9))
  return self:is_partial() and math.min(self.pool, capacity) or capacity
end

function Book:most_in_flight()
  local most = self.concurrency > 0 and self.concurrency or INF
  if self.limit * self.known_window <= self.known_limit * self.window then
    return most
  end
  local beyond = math.floor(math.max(0, self.active - self.known_limit) / APPROACH)
  return math.min(most, now < self.wary_until and WARY or COLD + beyond)
end

function Book:probe()
  if self.in_flight > 0 then
    return self.next_lease
  end
  local at = math.max(self.probe_at, self.heard_at + (self.asks_for_bulk and self.probe_gap or 0))
  if now < at then
    return math.min(at, self.next_lease)
  end
  self.probing = true
  return now
end

function Book:gap(capacity, available)
  local calm = now < self.calm_until or self.claimed_limit > 0
  if not calm and available > self.paced_part * capacity then
    return 0
  end
  local ending = self.next_lease < INF and self.next_lease or now + self.window
  local left = math.max(0, ending - math.max(self.last_bulk, now - self.window))
  local ours = 1
  if self.foreign >= 1 then
    ours = math.max(0.2, (self.active + 1) / (self.active + self.foreign + 1))
  end
  local gap = left / (available * ours + 1)
  return calm and math.max(gap, self.window / capacity) or gap
end

function Book:ask(for_bulk)
  self.probing, self.asks_for_bulk = false, for_bulk
  if now < self.held_until then
    return self.held_until
  end
  if self.in_flight > 0 and self.in_flight >= self:most_in_flight() then
    return INF
  end
  if self.row > 0 and self.in_flight > 0 and now < self.tested_at + self.window * PROBE then
    return self.tested_at + self.window * PROBE
  end
  local capacity = self:capacity()
  local keep = 0
  if for_bulk and now < self.interactive_until then
    keep = math.min(self.reserve, math.max(0, math.floor((capacity - 1) / 2)))
  end
  local available = capacity - self.active - keep
  if available < 1 then
    local at = now < self.slow_until and math.min(self.next_lease, self.slow_until) or self.next_lease
    return now < self.grace_until and math.min(at, self.grace_until) or at
  end
  if self.bare == 0 then
    if self:is_fresh() then
      local room = for_bulk and self:headroom() or 0
      available = math.min(available, self.limit - self.active - self.foreign - room - keep)
      if available < 1 then
        return self:probe()
      end
    elseif self.cold then
      return self.in_flight >= COLD and self.next_lease or now
    end
  end
  if for_bulk then
    local not_before = self.last_bulk + self:gap(capacity, available)
    if now < not_before then
      return math.min(not_before, self.next_lease)
    end
  end
  return now
end

-- The earliest time for the next one, if what is under way will be accepted.
function Book:earliest()
  local start = math.max(now, self.held_until)
  local capacity = math.max(1, math.floor(self.limit * math.max(1, self.cap) * self.share + 1e-9))
  local place = self.active - capacity
  if place < 0 then
    return start
  end
  local lease = redis.call('ZRANGE', self.leases, place, place, 'WITHSCORES')[2]
  local under_way = now + self.window * (1 + MARGIN)
  local ending = lease and tonumber(lease) or under_way
  if ending > under_way and self.in_flight > 0 then
    ending = under_way
  end
  if now < self.slow_until then
    ending = math.min(ending, self.slow_until)
  end
  return math.max(start, ending)
end

function Book:grant()
  self.granted = self.granted + 1
  redis.call('ZADD', self.flights, number(now + dead_after), id)
  if bulk then
    self.last_bulk = now
  else
    self.interactive_until = now + self.window * CALM
    self.calm_until = self.interactive_until
  end
  if self.row > 0 then
    self.tested_at = now
  end
  if self.probing then
    self.probe_gap = math.min(self.window, 2 * self.probe_gap) * (0.8 + 0.4 * uniform)
  end
end

function Book:lease(given_up)
  local ending = now + self.window * (1 + MARGIN + (given_up and UNDER_WAY or 0))
  redis.call('ZADD', self.leases, number(ending), id)
end

function Book:prolong(delay)
  if delay >= 0 then
    self.held_until = math.max(self.held_until, now + math.min(delay + self.window * MARGIN, LONGEST_HOLD))
  end
end

function Book:hold(seconds, is_named)
  local least, size_window = 0, self.claimed_limit > 0 and self.claimed_window or self.window
  if self.row == 0 then
    local is_recent = now - self.mark_at < self.window
    self.accepted_before = is_recent and self.accepted - self.mark or redis.call('ZCARD', self.leases)
    self.accepted_in = is_recent and now - self.mark_at or 0
    self.row_since, self.mark_at = now, now
    self.mark, self.row_unnamed, self.row_used_up = self.accepted, 0, 0
    if self.claimed_limit > 0 then
      least = self.held_until - self.held_since
    end
  else
    least = 2 * (self.held_until - self.held_since)
  end
  self.row = self.row + 1
  if not is_named then
    self.row_unnamed = 1
  end
  self.wary_until = now + self.window * CALM
  self.held_since = now
  seconds = math.max(seconds, math.min(least, size_window))
  self.held_until = math.max(self.held_until, now + math.min(seconds, LONGEST_HOLD))
end

function Book:let_through(said, contradicts)
  self.accepted = self.accepted + 1
  if self.row == 0 and self.doubts > 0 and now - self.mark_at > self.window then
    self.doubts = 0
  end
  if self.row == 0 or said.granted_at < self.held_since or said.result == 'failed' then
    return
  end
  local row = self.row
  self.row = 0
  if self.claimed_limit > 0 then
    return
  end
  contradicts = contradicts and self.row_contradicts == 1 and (row > 1 or self.row_unnamed == 1)
  self.doubts = contradicts and self.doubts + (self.row_used_up == 1 and 1 or row) or 0
  local limit = self.accepted_before
  local window = math.min(self.window, math.max(self.accepted_in, said.granted_at - self.row_since))
  local known = self.known_limit / self.known_window
  if self.doubts < DOUBTS or limit / window < LEAST_LEARNED * known or limit / window >= self.limit / self.window then
    return
  end
  self.claimed_limit, self.claimed_window, self.doubts = self.limit, self.window, 0
  self:set_size(limit, window)
  self.bare, self.cap, self.cap_at, self.slow_until, self.foreign = 1, 1, now, now, 0
end

function Book:calm()
  self.calm_until = now + self.window * CALM
end

function Book:recover()
  local since = now - self.cap_at
  if self.bare == 0 or since < self.window / 10 then
    return
  end
  self.cap_at = now
  if self.claimed_limit == 0 then
    self.cap = math.min(1, self.cap + GROW)
    return
  end
  if now < self.wary_until then
    return
  end
  self.cap = self.cap * LEARNED_GROWTH ^ math.min(since / self.window, 2)
  local limit, window = self.claimed_limit, self.claimed_window
  if self.limit * self.cap * window >= limit * self.window then
    self.claimed_limit, self.claimed_window, self.cap = 0, 0, 1
    self.bare, self.heard_at = 0, now - 2 * window
    self:set_size(limit, window)
  end
end

function Book:is_fresh()
  return now - self.heard_at <= self.window
end

function Book:resize(limit, window)
  if self.claimed_limit > 0 and limit * self.window >= self.limit * window then
    self.claimed_limit, self.claimed_window = limit, window
    return
  end
  self.claimed_limit, self.claimed_window = 0, 0
  self:set_size(limit, window)
end

function Book:set_size(limit, window)
  if window < self.window then
    local bound, calm = now + window * (1 + MARGIN + UNDER_WAY), now + window * CALM
    for _, holder in ipairs(redis.call('ZRANGEBYSCORE', self.leases, '(' .. number(bound), '+inf')) do
      redis.call('ZADD', self.leases, number(bound), holder)
    end
    self.calm_until, self.interactive_until = math.min(self.calm_until, calm), math.min(self.interactive_until, calm)
  end
  self.limit, self.window = limit, window
end

function Book:report_bare(said)
  if said.result == 'failed' then
    return
  end
  if said.result ~= 'refused' then
    if not self:is_fresh() then
      self.bare = 1
    end
    self:recover()
    return
  end
  local delay = math.max(said.resets_after, said.retry_after)
  if said.granted_at < self.held_since then
    self:prolong(delay)
    return
  end
  self:calm()
  if delay >= 0 then
    self:hold(delay + self.window * MARGIN, true)
  else
    local seconds = math.min(OVERLOAD_MOST, self.overload * 2 ^ math.min(ENOUGH_DOUBLINGS, self.row))
    self:hold(seconds, false)
    self.slow_until = self.held_until + self.window
  end
  if self.bare == 1 then
    self.cap, self.cap_at = math.max(LEAST, self.cap * SHRINK), now
  end
end

function Book:refusal(said)
  self.foreign = math.max(self.foreign, self.limit - self.active - (self.released - said.released))
  self:calm()
  if said.granted_at < self.held_since then
    self:prolong(math.max(said.resets_after, said.retry_after))
    return
  end
  local jitter = 0
  if self.row > 0 then
    jitter = uniform * math.min(self.window / 4, self.window * JITTER * 2 ^ math.min(ENOUGH_DOUBLINGS, self.row + 1))
  end
  local delay = math.max(said.resets_after, said.retry_after)
  self:hold(math.max(0, delay) + self.window * MARGIN + jitter, delay >= 0)
end

function Book:look(said)
  local remaining = said.remaining
  if remaining >= self.limit then
    self.counts_before = 1
  end
  remaining = remaining - self.counts_before
  local counted_later = self.granted - said.completed - 1
  local taken = self.limit - remaining - self.active
  local at_least = taken - (self.released - said.released)
  local at_most = math.max(0, taken + counted_later)
  if at_least - self.foreign >= 1 then
    local decay = 2 ^ ((self.burst_at - now) / (self.window * BURST_MEMORY))
    self.burst, self.burst_at = self.burst * decay + at_least - self.foreign, now
    local room = math.max(self:headroom(), self.burst)
    self.room, self.room_at = math.min(ROOM_PART * self.limit, room), now
    self:calm()
  end
  self.foreign = math.max(0, at_least, math.min(self.foreign, at_most))
  local first_gap = self.window * PROBE
  if self.probe_gap ~= first_gap and self.limit - self.active - self.foreign - self:headroom() >= 1 then
    self.probe_gap = first_gap
  end
  if remaining <= 0 then
    local hint = math.min(math.max(0, said.resets_after), self.window)
    self.probe_at = math.max(self.probe_at, now + hint + self.window * MARGIN)
  end
end

function Book:report(said)
  if said.granted_at < 0 then -- so long ago
    said.granted_at = now + said.granted_at
  end
  -- A flight that is not known was given up for dead, or granted while these books were away: it only takes its lease.
  local known = redis.call('ZREM', self.flights, id) == 1
  if said.stacked then -- it was sent before its endpoint was known to have a quota of its own
    known, self.granted = true, self.granted + 1
    said.completed, said.released = self.completed, self.released
  end
  if known then
    self.completed = self.completed + 1
  end
  self:expire()
  if said.limit > 0 then
    self:resize(said.limit, said.window)
  end
  local refused, lost = said.result == 'refused', said.result == 'lost'
  if said.settled or not refused then
    self:lease(lost)
  end
  self:count()
  if said.settled and not lost and not refused then
    self:let_through(said, false)
    if said.result == 'accepted' then
      self:recover()
    end
  end
  if said.seen then
    self.heard_at = now
  end
  if said.settled or lost or not known then
    return
  end
  if said.completed < 0 then -- granted by other books: it does not say what happened here meanwhile
    if not refused then
      self.heard_at = said.remaining < 0 and self.heard_at or now
      return
    end
    said.released = self.released
  end
  local delay = math.max(said.resets_after, said.retry_after)
  if self.claimed_limit > 0 then
    said.remaining = -1
  end
  if refused then
    if now - self.held_until > (self.claimed_limit > 0 and self.claimed_window or self.window) then
      self.row = 0
    end
    if self.row == 0 then
      local free = self.limit - self.active - self.foreign
      self.row_contradicts = self:is_fresh() and 2 * free > self.limit and 1 or 0
    end
  else
    self:let_through(said, 2 * said.remaining > self.limit)
  end
  if said.remaining < 0 or (refused and delay < 0) then
    if refused and delay >= 0 and self.bare == 0 then
      self:refusal(said)
    else
      self:report_bare(said)
    end
    if refused and said.remaining == 0 then
      self.row_used_up = 1
    end
    return
  end
  if self.claimed_limit > 0 then
    return
  end
  self.bare, self.cap = 0, 1
  if refused then
    self:refusal(said)
    if said.remaining == 0 then
      self.row_used_up = 1
    end
    self.heard_at = now
  else
    self.heard_at = now
    self:look(said)
  end
end

-- What the caller needs: whether it was granted; if not, the seconds to wait (-1 for "until an answer"), whose quota
-- says so, and the seconds before which there can be no slot; the processes that take part; the time; then for each
-- quota its epoch, version, limit, window, slots that we and others hold, slots left, seconds on hold, seconds until an
-- interactive call may go (-1: unknown), what a ticket must remember, and limit and window as the headers state them.
local function answer(books, granted, wait, of_endpoint, earliest)
  -- A process counts for as long as something of it may hold a slot.
  local ending = now + books[1].window * (1 + MARGIN + UNDER_WAY) + dead_after
  redis.call('ZADD', KEYS[1], number(ending), process)
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', number(now))
  redis.call('PEXPIRE', KEYS[1], math.ceil((books[1].window * KEPT_WINDOWS + dead_after) * 1000))
  local values = {granted, wait == INF and -1 or wait, of_endpoint, earliest or 0, redis.call('ZCARD', KEYS[1]), now}
  for _, book in ipairs(books) do
    book:count()
    local free = math.min(book:capacity() - book.active, book:most_in_flight() - book.in_flight)
    if book.row > 0 then
      free = math.min(free, 1)
    end
    if book.bare == 0 and book:is_fresh() then
      free = math.min(free, book.limit - book.active - book.foreign)
    elseif book.bare == 0 and book.cold then
      free = math.min(free, COLD - book.in_flight)
    end
    local at = book:ask(false)
    for _, value in ipairs({
      book.epoch, book.version + 1, book.limit, book.window, book.active, book.foreign, now < book.held_until and 0 or math.max(0, free),
      math.max(0, book.held_until - now), at == INF and -1 or at - now, book.completed, book.released,
      book.claimed_limit > 0 and book.claimed_limit or book.limit, book.claimed_limit > 0 and book.claimed_window or book.window,
    }) do
      values[#values + 1] = value
    end
    book:save()
  end
  for index, value in ipairs(values) do
    values[index] = number(value)
  end
  return values
end

local books = {}
for place = 0, tonumber(ARGV[8]) - 1 do
  books[place + 1] = open(place)
end
local rest = 10 + #books * TERMS -- the first argument of the verb's own
local verb = ARGV[1]

if verb == 'watch' then
  for _, book in ipairs(books) do
    book:expire()
  end
  return answer(books, 0, 0, 0)
end

if verb == 'acquire' then
  if redis.call('ZSCORE', books[1].flights, id) then -- asked twice: the first answer got lost
    return answer(books, 1, 0, 0)
  end
  for place = #books, 1, -1 do -- the endpoint's first: it may hold back its own calls alone
    local book = books[place]
    book:expire()
    book:count()
    local at = book:ask(bulk)
    if at > now then
      local earliest = book:earliest() - now
      if place == 2 then -- the store's may be later
        books[1]:expire()
        books[1]:count()
        earliest = math.max(earliest, books[1]:earliest() - now)
      end
      return answer(books, 0, at - now, place - 1, earliest)
    end
  end
  for _, book in ipairs(books) do
    book:grant()
  end
  return answer(books, 1, 0, 0)
end

if verb == 'release' then
  for place, book in ipairs(books) do
    local at = rest + (place - 1) * 10
    book:report({
      settled = ARGV[at] == 'settled' or ARGV[at] == 'seen', stacked = ARGV[at] == 'stacked', seen = ARGV[at] == 'seen',
      granted_at = tonumber(ARGV[at + 1]), completed = tonumber(ARGV[at + 2]),
      released = tonumber(ARGV[at + 3]), result = ARGV[at + 4], remaining = tonumber(ARGV[at + 5]),
      resets_after = tonumber(ARGV[at + 6]), retry_after = tonumber(ARGV[at + 7]), limit = tonumber(ARGV[at + 8]),
      window = tonumber(ARGV[at + 9]),
    })
  end
  return answer(books, 0, 0, 0)
end

if verb == 'unsent' then
  for _, book in ipairs(books) do
    book:expire()
    book.completed = book.completed + redis.call('ZREM', book.flights, id)
  end
  return answer(books, 0, 0, 0)
end

-- What a process holds: the epoch that is not to be believed any more, the run of the server, the seconds of the store's
-- hold, whether this is all, then pairs of id and seconds: those after which a lease ends, or less than 0 for a flight
-- that counts as given up after so many; 0 for nothing any more.
if verb == 'tell' then
  local book = books[1]
  local run = ARGV[rest + 1]
  local last_run = redis.call('GET', KEYS[2])
  if tonumber(ARGV[rest]) == book.epoch then
    book:new_epoch(true)
  elseif book.is_store and run ~= '' and last_run and last_run ~= '' and last_run ~= run then
    book:new_epoch(true) -- started again, perhaps with old data
  end
  if book.is_store then
    redis.call('SET', KEYS[2], run)
  end
  local known_before = book:known()
  local hold = tonumber(ARGV[rest + 2])
  if hold > 0 and now + hold > book.held_until then
    book.held_since, book.held_until = now, now + hold
  end
  for at = rest + 4, #ARGV, 2 do
    local holder, seconds = ARGV[at], tonumber(ARGV[at + 1])
    local known = redis.call('ZREM', book.flights, holder)
    redis.call('ZREM', book.leases, holder)
    if seconds < 0 then
      redis.call('ZADD', book.flights, number(now - seconds), holder)
      book.granted = book.granted + 1 - known
    else
      book.completed = book.completed + known
      if seconds > 0 then
        redis.call('ZADD', book.leases, number(now + seconds), holder)
      end
    end
  end
  book.pool = book.pool + math.max(0, book:known() - known_before)
  if ARGV[rest + 3] == '1.0' and not book.told['told:' .. process] then
    book.told['told:' .. process] = true
    book.told_count = book.told_count + 1
    redis.call('HSET', book.fields, 'told:' .. process, '1')
  end
  book:expire()
  return answer(books, 0, 0, 0)
end

return redis.error_reply('ERR b2b-async: no such verb')
