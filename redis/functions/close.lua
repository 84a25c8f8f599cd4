-- martlet_close: deletes a room that is being closed (moderate, `members nobody`), once everything of it is elsewhere.
--
-- KEYS  log
-- ARGV  the sink that must have the whole log first, '' if none has to
-- Returns 'closed'; 'nodes' while a node is still in the room; 'behind' while the sink lacks something; 'open' if the
--       room is not being closed
-- Atomic all of it: nothing can be said between the look at the cursor and the deletion.
--
-- martlet_chill: drops the content of a room that nobody is in, and that the sink has. What is left is the log without
-- entries, which keeps its last ID, with `epochs` and `meta`: so positions go on where they were.
--
-- KEYS  log
-- ARGV  the sink that must have the whole log
-- Returns 1; 0 if a node is in the room, the sink lacks something, there is nothing to drop (what is left stays, though),
--       or the room has participants, whose unread messages are counted in its log
-- Atomic all of it.

local ALL_ROOM_KEYS = {'nodes', 'epochs', 'meta', 'presence', 'roster', 'keys', 'rules', 'sanctions', 'audit',
    'participants', 'reads', 'pending', 'overlay', 'amendments', 'cursors', 'receipts'}

redis.register_function('martlet_close', function(keys, args)
    local log, sink = keys[1], args[1] or ''
    channel(log)
    check({'stream', 'hash', 'hash'}, {log, key_of(log, 'rules'), key_of(log, 'nodes')})
    if redis.call('HGET', key_of(log, 'rules'), 'members') ~= 'nobody' then return 'open' end
    if redis.call('HLEN', key_of(log, 'nodes')) > 0 then return 'nodes' end
    if sink ~= '' and not has_all(log, sink) then return 'behind' end
    redis.call('DEL', log)
    for _, name in ipairs(ALL_ROOM_KEYS) do redis.call('DEL', key_of(log, name)) end
    return 'closed'
end)

redis.register_function('martlet_chill', function(keys, args)
    local log, sink = keys[1], args[1] or ''
    channel(log)
    check({'stream', 'hash', 'hash', 'list'}, {log, key_of(log, 'nodes'), key_of(log, 'meta'), key_of(log, 'epochs')})
    if redis.call('EXISTS', log) == 0 or redis.call('HLEN', key_of(log, 'nodes')) > 0 or not has_all(log, sink)
        or redis.call('EXISTS', key_of(log, 'participants')) == 1 then
        return 0
    end
    -- The last ID stays.
    local dropped = redis.call('XTRIM', log, 'MAXLEN', '0')
    for _, name in ipairs({'presence', 'roster', 'keys', 'overlay', 'amendments'}) do
        redis.call('DEL', key_of(log, name))
    end
    for _, name in ipairs({'epochs', 'meta', 'cursors'}) do redis.call('PERSIST', key_of(log, name)) end
    redis.call('PERSIST', log)
    return dropped > 0 and 1 or 0
end)
