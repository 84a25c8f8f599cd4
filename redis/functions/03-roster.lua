-- Changes of a room's roster with their presence entries. Shared by presence and leave.

-- The devices of a user, {node = {device, …}}, as the roster has them. Anything else was written by no node. It is left
-- out, and the next change of that user overwrites it.
local function devices_of(roster, user, text)
    local known, found = pcall(cjson.decode, text or redis.call('HGET', roster, user) or '{}')
    local devices = {}
    for node, names in pairs(known and type(found) == 'table' and found or {}) do
        local list = {}
        for _, name in ipairs(type(node) == 'string' and type(names) == 'table' and names or {}) do
            if type(name) == 'string' then list[#list + 1] = name end
        end
        if #list > 0 then devices[node] = list end
    end
    return devices
end

-- A set of changes that is not written yet. `users` caches the resulting devices.
local function begin_changes(roster)
    return {roster = roster, users = {}, list = {}}
end

-- Adds that a device came (kind 'join') or went ('leave', 'expire'), unless the roster has that state already.
local function change(changes, kind, user, device, node)
    local devices = changes.users[user] or devices_of(changes.roster, user)
    changes.users[user] = devices
    local list = devices[node] or {}
    local place
    for index, name in ipairs(list) do
        if name == device then place = index end
    end
    if (kind == 'join') == (place ~= nil) then return end
    local was_here = next(devices) ~= nil
    if place then table.remove(list, place) else list[#list + 1] = device end
    devices[node] = #list > 0 and list or nil
    changes.list[#changes.list + 1] = {kind = kind, user = user, device = device, node = node,
        is_edge = was_here ~= (next(devices) ~= nil)}
end

-- The last ID of the presence stream; if there is none, the ID at which it will begin, and false. A stream whose last
-- ID is beyond the bounds counts as lost.
local function presence_position(presence)
    local last = redis.call('EXISTS', presence) == 1 and sound_id(presence)
    if last then return last.epoch, last.seq, true end
    return now(), 0, false
end

-- Writes the changes into roster and stream. Returns {position, after, count, {user, device, node, joined, …}} for the
-- caller, and the notice as JSON; {position} and nil if nothing changed. IDs of the stream are contiguous, as positions
-- are.
local function write_changes(changes, presence, maxlen)
    local begin, seq, exists = presence_position(presence)
    if #changes.list == 0 then return {exists and int(begin) .. '-' .. int(seq) or '0-0'} end
    if not exists then redis.call('DEL', presence) end
    local users = redis.call('HLEN', changes.roster)
    for user, devices in pairs(changes.users) do
        if next(devices) then
            redis.call('HSET', changes.roster, user, cjson.encode(devices))
        else
            redis.call('HDEL', changes.roster, user)
        end
    end
    local at, after, flat, json = int(now()), int(begin) .. '-' .. int(seq), {}, {}
    for _, item in ipairs(changes.list) do
        seq = seq + 1
        local joined = item.kind == 'join'
        if item.is_edge then users = users + (joined and 1 or -1) end
        redis.call('XADD', presence, 'MAXLEN', '~', maxlen, int(begin) .. '-' .. int(seq), 'kind', item.kind,
            'user', item.user, 'device', item.device, 'node', item.node, 'at', at, 'users', int(math.max(users, 0)),
            'edge', item.is_edge and '1' or '0')
        for _, value in ipairs({item.user, item.device, item.node, joined and '1' or '0'}) do
            flat[#flat + 1] = value
        end
        json[#json + 1] = '{"user":' .. cjson.encode(item.user) .. ',"device":' .. cjson.encode(item.device)
            .. ',"node":' .. cjson.encode(item.node) .. ',"joined":' .. tostring(joined) .. '}'
    end
    local place, count = int(begin) .. '-' .. int(seq), int(redis.call('HLEN', changes.roster))
    -- It carries the run ID: a master that was frozen carries out old requests when it is no master any more, and the
    -- bus of a Cluster brings its publications to the subscribers of its successor.
    return {place, after, count, flat}, '{"type":"presence","position":"' .. place .. '","after":"' .. after
        .. '","run":"' .. run_id() .. '","count":' .. count .. ',"changes":[' .. table.concat(json, ',') .. ']}'
end
