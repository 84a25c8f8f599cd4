-- martlet_reply: martlet_append for a message of a thread, which is also counted by the thread's root. Nodes use it for
-- all such messages, so that the others cost what they always did.
--
-- KEYS  log
-- ARGV  as martlet_append; the payload is '' if nobody has to hear of the message; `thread` is among the fields
-- Returns the ID; {ID} if nothing was published: the payload is empty, or the ID's seq is not above the third argument,
--       as the log was set back; nil if there is no log; XADD's own error if the log's epoch is newer (nothing changed)
-- Atomic all of it: the fenced append, the root's count in `overlay`, and the PUBLISH.

redis.register_function('martlet_reply', function(keys, args)
    local log, known = keys[1], tonumber(args[3])
    channel(log)
    if #args < 6 or #args > 24 or not known then return {err = 'ERR martlet: reply takes a position and fields'} end
    local fields = {unpack(args, 5, #args)}
    local root = field(fields, 'thread')
    if not root then return {err = 'ERR martlet: reply takes a message with a thread'} end
    check({'stream', 'hash', 'zset'}, {log, amendment_keys(log)})
    local id = redis.pcall('XADD', log, 'NOMKSTREAM', 'MAXLEN', '~', args[2], args[1] .. '-*', unpack(fields))
    if type(id) ~= 'string' then return id end
    count_reply(log, id, root, 1)
    if args[4] == '' or tonumber(id:match('%d+$')) <= known then return {id} end
    publish(log, '{"type":"message","position":"' .. id .. '"' .. args[4])
    return id
end)
