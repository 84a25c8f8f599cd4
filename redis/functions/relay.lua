-- The queues of a partition, for the relay that holds its lease. Nodes add rooms in which something was said to `rooms`
-- (ZADD; the score does not matter), and those whose audit, presence or receipts have grown to `rooms-audit`,
-- `rooms-presence` and `rooms-receipts`;
-- `martlet_take` hands the rooms of one of these lists to the sinks that read it, each of which has a queue of its own:
-- room -> from when on it is due (ms, clock of Redis). A sink that is down keeps its rooms, and only its own.
--
-- martlet_take: hands rooms to the queues of the sinks.
-- KEYS  lease · rooms · queue (the zset <prefix>{events:<partition>}:due:<sink>) of each sink
-- ARGV  token · how many rooms at most
-- Returns how many rooms were handed over
--
-- martlet_done: what became of rooms that were due.
-- KEYS  lease · queue
-- ARGV  token · for each room: room, the score with which the relay has found it, and '' (everything was read) or after
--       how many ms it is due again
-- Returns how many rooms have left the queue. A room that was handed over again meanwhile has another score, and stays.
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
    if #taken == 0 then return 0 end
    for index = 3, #keys do
        local scores, words = redis.call('ZMSCORE', keys[index], unpack(taken)), {}
        for place, room in ipairs(taken) do
            -- A higher score than before tells `martlet_done` that there is more than the sink has read.
            local score = tonumber(scores[place] or nil)
            words[#words + 1] = int(score and math.max(score + 1, clock) or clock)
            words[#words + 1] = room
        end
        redis.call('ZADD', keys[index], unpack(words))
    end
    redis.call('ZREM', keys[2], unpack(taken))
    return #taken
end)

redis.register_function('martlet_done', function(keys, args)
    check({'hash', 'zset'}, keys)
    fence(keys[1], args[1])
    local clock, rooms, gone, delayed = now(), {}, {}, {}
    for index = 2, #args - 2, 3 do rooms[#rooms + 1] = args[index] end
    if #rooms == 0 then return 0 end
    if #rooms > 1000 then error({err = 'ERR martlet: more than 1000 rooms'}) end
    local scores = redis.call('ZMSCORE', keys[2], unpack(rooms))
    for place, room in ipairs(rooms) do
        local score, delay = args[place * 3], args[place * 3 + 1]
        if delay ~= '' then
            delayed[#delayed + 1] = int(clock + number(delay, 'the delay'))
            delayed[#delayed + 1] = room
        elseif scores[place] == score then
            gone[#gone + 1] = room
        end
    end
    -- A pause holds for what was handed over meanwhile, too. A queue that was removed with its sink stays empty.
    if #delayed > 0 then redis.call('ZADD', keys[2], 'XX', unpack(delayed)) end
    if #gone > 0 then redis.call('ZREM', keys[2], unpack(gone)) end
    return #gone
end)
