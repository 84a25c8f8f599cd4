-- martlet_page: what a sink has not read yet.
-- KEYS  log · cursors (the hash <prefix>{room}:cursors)
-- ARGV  sink · how much is wanted, `<entries>:<bytes>`
-- Returns {the cursor's position or '', entries and tombstones behind it, oldest first, 1 if there are more, 1 if the
--       room is being closed}
-- Atomic all of it; changes nothing.
--
-- martlet_cursor: moves a cursor forward.
-- KEYS  log · cursors
-- ARGV  sink · token · position
-- Returns 1 if it moved, 0 if it already was there or further
-- Atomic all of it. FENCED if a newer relay has moved it. The cursors live longer than the log: a day if the log has a
--       TTL, else for CURSOR_LIFE after the last move. Of a cursor that is gone the sink gets the log once more.
--
-- Sinks read the other books of a room, `audit`, `presence` and `receipts`, as they are (XRANGE). `sink` is then the name
-- of that feed, such as `<sink>-audit`, and a position is the ID of an entry.

local CURSOR_LIFE, CURSOR_REST, CURSOR_OF_NOTHING = 30 * 86400000, 86400000, 60000

redis.register_function{function_name = 'martlet_page', flags = {'no-writes'}, callback = function(keys, args)
    local log, cursors, sink = keys[1], keys[2], args[1] or ''
    local wanted = bounds(args[2], 'the page')
    channel(log)
    check({'stream', 'hash'}, keys)
    local place = cursor_of(cursors, sink)
    local entries, more = page('XRANGE', log, place and '(' .. place or '-', '+', wanted.count, wanted.bytes)
    entries, more = with_tombstones(log, entries, more, place, 1, wanted.count, wanted.bytes)
    local closing = redis.pcall('HGET', key_of(log, 'rules'), 'members') == 'nobody'
    return {place or '', entries, more and 1 or 0, closing and 1 or 0}
end}

redis.register_function('martlet_cursor', function(keys, args)
    local log, cursors, sink, token = keys[1], keys[2], args[1] or '', number(args[2], 'the token')
    check({'stream', 'hash'}, keys)
    check_text('the sink', sink, 1, 64)
    if not position(args[3]) then return {err = 'ERR martlet: not a position'} end
    local place, holder = cursor_of(cursors, sink)
    if token < holder then return {err = 'FENCED ' .. cursors .. ' was moved by a newer relay'} end
    local moved = not place or is_before(place, args[3])
    if moved then redis.call('HSET', cursors, sink, args[3] .. ' ' .. int(token)) end
    local left, rest = redis.call('PTTL', log), CURSOR_REST
    if left == -2 then
        -- Nothing was ever said in the room, so there is nothing but its audit and who came and went.
        left = math.max(1, redis.call('PTTL', key_of(log, 'audit')), redis.call('PTTL', key_of(log, 'presence')))
        rest = CURSOR_OF_NOTHING
    end
    redis.call('PEXPIRE', cursors, int(left > 0 and left + rest or CURSOR_LIFE))
    return moved and 1 or 0
end)
