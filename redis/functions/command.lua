-- martlet_command: something that every node applies within a second, and whoever starts later too:
-- FCALL martlet_command 1 martlet:commands revoke user ana
--
-- KEYS  commands (the stream <prefix>commands)
-- ARGV  revoke · token, user or everybody · the token's ID (jti) or the user's name, '' for everybody · optional, '' for
--       the default: tokens that were issued before this time, in ms (now) · ms at which the revocation is forgotten
--       (in 30 days; nodes refuse longer-lived tokens) · who orders it
-- Returns the entry's ID
-- Atomic the one XADD. The stream keeps the newest 100,000 commands (about).

redis.register_function('martlet_command', function(keys, args)
    local type, subject, name, before, till, by = unpack(args, 1, 6)
    check({'stream'}, keys)
    if type ~= 'revoke' then return {err = 'ERR martlet: the command must be revoke'} end
    name = name or ''
    if subject ~= 'token' and subject ~= 'user' and subject ~= 'everybody' then
        return {err = 'ERR martlet: revoke needs token, user or everybody'}
    end
    if subject ~= 'everybody' and (#name == 0 or #name > 128 or name:find('%c')) then
        return {err = 'ERR martlet: the ID or name must be 1 to 128 bytes without control characters'}
    end
    by = by or ''
    if #by > 128 or by:find('%c') then
        return {err = 'ERR martlet: who orders it must be at most 128 bytes without control characters'}
    end
    before = before and before ~= '' and number(before, 'before') or now()
    till = till and till ~= '' and number(till, 'until') or now() + 2592000000
    return redis.call('XADD', keys[1], 'MAXLEN', '~', '100000', '*', 'type', type, 'subject', subject, 'name', name,
        'before', int(before), 'until', int(till), 'by', by)
end)
