-- martlet_roster: a part of the users of a room with their devices, and where the presence stream stands.
--
-- KEYS  presence roster
-- ARGV  where the part before ended (0: the first part) · about how many users are wanted
-- Returns {last ID of the presence stream or '0-0', where this part ends (0: there is no more), users in the room,
--       {user, JSON, …}}
-- Atomic this part. A roster that is small, or wants no second part, is of one moment. Of one that is read in parts,
--       HSCAN names each user who was there all the time at least once; who came or went meanwhile is told by the
--       presence notices since the first part.

redis.register_function{function_name = 'martlet_roster', flags = {'no-writes'}, callback = function(keys, args)
    local presence, roster = unpack(keys)
    local cursor, count = int(number(args[1], 'cursor')), int(math.max(1, number(args[2], 'count')))
    check({'stream', 'hash'}, keys)
    local begin, seq, exists = presence_position(presence)
    local part = redis.call('HSCAN', roster, cursor, 'COUNT', count)
    return {exists and int(begin) .. '-' .. int(seq) or '0-0', part[1], redis.call('HLEN', roster), part[2]}
end}
