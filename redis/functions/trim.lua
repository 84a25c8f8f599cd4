-- martlet_trim: keeps a room's log within its bound in bytes. Nodes call it after every so many bytes that they
-- appended.
--
-- KEYS  log
-- ARGV  bytes of memory that the log may take
-- Returns 1
-- Atomic all of it. The newest message stays, however long it is.

redis.register_function('martlet_trim', function(keys, args)
    local log = keys[1]
    channel(log)
    check({'stream'}, keys)
    trim(log, number(args[1], 'bytes'))
    return 1
end)
