-- How far a sink of a relay has a room. Shared by page, cursor, close, chill and trim.
--
-- `cursors`: sink -> '<position> <token>', the position up to which the sink has accepted everything, and the token of
-- the lease under which the relay wrote that.

-- The position, nil if the sink has nothing or the text is no cursor, and the token.
local function cursor_of(cursors, sink)
    local text = redis.call('HGET', cursors, sink) or ''
    local place, token = text:match('^(%d+%-%d+) (%d+)$')
    if not place or not position(place) then return nil, 0 end
    return place, whole(token) or 0
end

-- Whether the sink has everything that the log holds.
local function has_all(log, sink)
    local newest = redis.call('XREVRANGE', log, '+', '-', 'COUNT', 1)[1]
    local place = cursor_of(key_of(log, 'cursors'), sink)
    return not newest or place and not is_before(place, newest[1])
end
