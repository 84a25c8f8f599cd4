-- The queues of a partition, for the relay that holds its lease. Nodes add rooms in which something was said to `rooms`
-- (ZADD; the score does not matter); `martlet_take` hands them to the sinks, each of which has a queue of its own:
-- room -> from when on it is due (ms, clock of Redis). A sink that is down keeps its rooms, and only its own.
--
-- martlet_take: hands rooms to the queues of the sinks.
-- KEYS  lease · rooms · queue (the zset <prefix>{events:<partition>}:due:<sink>) of each sink
-- ARGV  token · how many rooms at most
-- Returns how many rooms were handed over
--
-- martlet_due: the rooms that are due for a sink, those that wait longest first.
-- KEYS  lease · queue
-- ARGV  token · how many at most
-- Returns {room, score, …}
--
-- martlet_done: what became of rooms that were due.
-- KEYS  lease · queue
-- ARGV  token · for each room: room, its score as `martlet_due` returned it, and '' (everything was read) or after how
--       many ms it is due again
-- Returns how many rooms have left the queue. A room that was handed over again meanwhile has another score, and stays.
--
-- martlet_emit: adds events to the partition's event stream.
-- KEYS  lease · log (the stream <prefix>{events:<partition>}:log)
-- ARGV  token · bound of the stream (MAXLEN ~) · for each event: ID, type, room, JSON
-- Returns the ID of the last entry
--
-- Atomic each. FENCED if the token is not that of the lease: another relay has the partition now, and nothing was
--       changed.

local function fence(lease, token)
    if redis.call('HGET', lease, 'token') ~= token then
        error({err = 'FENCED ' .. lease .. ' has another token: another relay reads this partition'})
    end
end

redis.register_function('martlet_take', function(keys, args)
    local types = {'hash', 'zset'}
    for index = 3, #keys do types[index] = 'zset' end
    check(types, keys)
    fence(keys[1], args[1])
    local count, clock = math.min(number(args[2], 'the count'), 1000), now()
    local taken = redis.call('ZRANGE', keys[2], '0', int(count - 1))
    for _, room in ipairs(taken) do
        for index = 3, #keys do
            -- A higher score than before tells `martlet_done` that there is more than the sink has read.
            local score = tonumber(redis.call('ZSCORE', keys[index], room) or nil)
            redis.call('ZADD', keys[index], int(score and math.max(score + 1, clock) or clock), room)
        end
        redis.call('ZREM', keys[2], room)
    end
    return #taken
end)

redis.register_function{function_name = 'martlet_due', flags = {'no-writes'}, callback = function(keys, args)
    check({'hash', 'zset'}, keys)
    fence(keys[1], args[1])
    local count = math.min(number(args[2], 'the count'), 1000)
    return redis.call('ZRANGE', keys[2], '-inf', int(now()), 'BYSCORE', 'LIMIT', '0', int(count), 'WITHSCORES')
end}

redis.register_function('martlet_done', function(keys, args)
    check({'hash', 'zset'}, keys)
    fence(keys[1], args[1])
    local clock, left = now(), 0
    for index = 2, #args - 2, 3 do
        local room, score, delay = args[index], args[index + 1], args[index + 2]
        if redis.call('ZSCORE', keys[2], room) == score then
            if delay == '' then
                left = left + redis.call('ZREM', keys[2], room)
            else
                redis.call('ZADD', keys[2], int(clock + number(delay, 'the delay')), room)
            end
        end
    end
    return left
end)

redis.register_function('martlet_emit', function(keys, args)
    check({'hash', 'stream'}, keys)
    fence(keys[1], args[1])
    local most, last = int(number(args[2], 'the bound')), ''
    for index = 3, #args - 3, 4 do
        last = redis.call('XADD', keys[2], 'MAXLEN', '~', most, '*', 'id', args[index], 'type', args[index + 1],
            'room', args[index + 2], 'event', args[index + 3])
    end
    return last
end)
