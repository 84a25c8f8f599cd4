-- martlet_trim: keeps a room's log within its bounds. Nodes call it after every so many bytes that they appended, and
-- after every so many messages in a room with participants.
--
-- KEYS  log
-- ARGV  bounds of the log, `<messages>:<bytes>`, or `<messages>:<bytes>:<messages>:<bytes>`: the second ones are those
--       of a log that a participant has not read; `:<sink>,…` behind them, or one of these sinks has not got · a number alone: the bytes, of nodes of versions before 18
-- Returns 1
-- Atomic all of it. The newest message stays, however long it is.

redis.register_function('martlet_trim', function(keys, args)
    local log = keys[1]
    channel(log)
    check({'stream'}, keys)
    local is_old = (args[1] or ''):match('^%d+$')
    trim(log, is_old and {bytes = number(args[1], 'bytes')} or log_bounds(args[1], 'bounds'))
    return 1
end)
