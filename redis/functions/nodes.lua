-- martlet_nodes: every node that was registered and not yet forgotten, with its last report while its lease runs.
--
-- KEYS  nodes (the sorted set <prefix>nodes)
-- ARGV  none
-- Returns {node, report, …}; '' for a node whose lease has run out, or whose key a stranger has taken for something
--       else (one such key must not keep all other nodes from being swept)
-- Atomic all of it. The nodes' own keys (<prefix>node:<id>) cannot be named before the set was read, so they are
--       derived from its key: the one exception to "keys only through KEYS". In a Cluster their hash tag is the set's
--       name (<prefix>node:{<prefix>nodes}:<id>), so that all of them are in its slot.

redis.register_function{function_name = 'martlet_nodes', flags = {'no-writes'}, callback = function(keys)
    local nodes = keys[1]
    check({'zset'}, keys)
    local before = nodes:sub(1, -2) .. (in_cluster() and ':{' .. nodes .. '}:' or ':')
    local reply = {}
    for _, node in ipairs(redis.call('ZRANGE', nodes, 0, -1)) do
        local key = before .. node
        local found = redis.call('TYPE', key).ok
        reply[#reply + 1] = node
        reply[#reply + 1] = found == 'string' and redis.call('GET', key) or ''
    end
    return reply
end}
