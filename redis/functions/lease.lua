-- martlet_lease: which relay reads a partition of the rooms. A relay that holds the lease has a token, which every write
-- on behalf of the partition carries; a newer holder has a higher one, so what an older one still writes is refused.
--
-- KEYS  lease (the hash <prefix>{events:<partition>}:lease) · log (the stream <prefix>{events:<partition>}:log)
-- ARGV  the relay's ID · for how many ms it wants the lease, 0 to give it back
-- Returns {token, holder, ms that are left, clock of Redis (ms)}; token 0 and another holder, or '' if nobody holds it
--       now
-- Atomic all of it. The time is that of Redis, so the clocks of relays do not matter. A lease ends at most
--       MOST_LEASE ms ahead; what is further ahead was written by nobody of ours, and has ended.

local MOST_LEASE = 600000

-- A number above those with which the IDs of the stream begin that this lease's token has not made; 0 if there is none.
local function above_events(log, token)
    if not log or redis.call('EXISTS', log) == 0 then return 0 end
    local info = redis.call('XINFO', 'STREAM', log)
    for index = 1, #info - 1, 2 do
        if info[index] == 'last-generated-id' then
            local epoch = position(info[index + 1])
            return epoch and epoch > token and epoch + 1 or 0
        end
    end
    return 0
end

redis.register_function('martlet_lease', function(keys, args)
    check({'hash', 'stream'}, keys)
    local lease, log, relay, wanted = keys[1], keys[2], args[1] or '', number(args[2], 'the time of the lease')
    check_text('the relay', relay, 1, 128)
    local clock = now()
    local holder, ends, token = unpack(redis.call('HMGET', lease, 'holder', 'until', 'token'))
    local left = (whole(ends) or 0) - clock
    if not holder or left < 0 or left > MOST_LEASE then left = 0 end
    if left > 0 and holder ~= relay then return {0, holder, left, clock} end
    if wanted == 0 then
        if left > 0 then redis.call('HSET', lease, 'until', '0') end
        return {0, '', 0, clock}
    end
    wanted, token = math.min(wanted, MOST_LEASE), whole(token) or 0
    -- A failover may have lost the newest tokens, so a token is also a time.
    if left == 0 then token = math.max(token + 1, clock) end
    -- Entries of the log have IDs that begin with the token, and Redis takes none below the last one.
    token = math.max(token, above_events(log, token))
    redis.call('HSET', lease, 'holder', relay, 'until', int(clock + wanted), 'token', int(token))
    return {token, relay, wanted, clock}
end)
