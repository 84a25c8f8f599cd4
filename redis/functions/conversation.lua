-- martlet_conversation: who belongs to a room, and up to where each has read; changes nothing.
-- FCALL martlet_conversation 1 'martlet:{team}:log'
--
-- KEYS  log
-- ARGV  none
-- Returns {version, kind, {user, JSON, …}, {user, `<epoch>-<seq>.<amendments>`, …}, {user, version, since or '', …}}: the
--       participants with role, since and notify, their read positions, and whose indexes of rooms are not known to be
--       written; nil if the room has no participants
-- Atomic all of it.

redis.register_function{function_name = 'martlet_conversation', flags = {'no-writes'}, callback = function(keys)
    local log = keys[1]
    channel(log)
    local meta, participants, reads, pending = key_of(log, 'meta'), conversation_keys(log)
    check({'hash', 'hash', 'hash', 'hash'}, {meta, participants, reads, pending})
    local kind, version = unpack(redis.call('HMGET', meta, 'kind', 'participants'))
    if not kind then return false end
    return {int(whole(version) or 0), kind, redis.call('HGETALL', participants), redis.call('HGETALL', reads),
        pending_reply(log)}
end}
