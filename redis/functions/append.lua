-- martlet_append: the fenced append and the PUBLISH of what it stored, in one step. Nodes use it in shared rooms while
-- few requests are in flight: a script costs a few microseconds more than XADD and PUBLISH, but a wake-up of Redis
-- costs far more.
--
-- KEYS  log
-- ARGV  epoch · bound of the log · seq of the newest message that the node has shown · the payload behind the position
--       · fields and values as they go into the log
-- Returns the ID; {ID} if its seq is not above the third argument: the log was set back, and nothing was published; nil
--       if there is no log; XADD's own error if the log's epoch is newer (nothing changed)
-- Atomic both. Fenced by XADD itself: an ID of an older epoch is below the log's last.

redis.register_function('martlet_append', function(keys, args)
    local log, known = keys[1], tonumber(args[3])
    channel(log)  -- or an error, before anything is written
    if #args < 6 or #args > 24 or not known then return {err = 'ERR martlet: append takes a position and fields'} end
    local id = redis.pcall('XADD', log, 'NOMKSTREAM', 'MAXLEN', '~', args[2], args[1] .. '-*', unpack(args, 5, #args))
    if type(id) ~= 'string' then return id end
    if tonumber(id:match('%d+$')) <= known then return {id} end
    publish(log, '{"type":"message","position":"' .. id .. '"' .. args[4])
    return id
end)
