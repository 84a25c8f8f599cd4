"""How it looks and who can use it: axe-core, the keyboard, and the pictures."""
import json
import pathlib

import axe_core_python

from bench import PHONE, WIDE, check, holds, say, shows


async def check_access(bench):
    """axe-core finds no serious fault: entering, talk, dialog, phone; light and dark. The keyboard reaches everything."""
    axe = next(pathlib.Path(axe_core_python.__file__).parent.rglob("axe.min.js")).read_text()
    room = bench.room("access")
    await bench.fill(room, ["hello", "https://example.org", "مرحبا", "🎉"])
    faults = []

    async def audit(page, name):
        await page.wait_for_timeout(300)
        await page.evaluate(axe)
        result = await page.evaluate("axe.run(document)")
        minor = [f["id"] for f in result["violations"] if f["impact"] not in ("serious", "critical")]
        print(f"    {name}: {len(result['passes'])} rules pass; minor: {minor or 'none'}")
        for fault in result["violations"]:
            if fault["impact"] in ("serious", "critical"):
                where = fault["nodes"][0]
                faults.append(f"{name}: {fault['id']} at {where['target']}: {where['failureSummary']}")

    for theme in ("light", "dark"):
        context = await bench.browser.new_context(**WIDE, color_scheme=theme)
        bench.contexts.append(context)
        page = await context.new_page()
        await page.goto(bench.urls[0])
        await audit(page, f"entering, {theme}")
        await bench.picture(page, f"enter-{theme}")
        page = await bench.page("ana", room, **WIDE, color_scheme=theme)
        await say(page, "mine")
        await shows(page, "mine")
        await audit(page, f"talk, {theme}")
        await page.click("#add-room")
        await audit(page, f"dialog, {theme}")
        await page.keyboard.press("Escape")
        phone = await bench.page("bo", room, **PHONE, color_scheme=theme)
        await audit(phone, f"phone, {theme}")
        await bench.picture(phone, f"phone-{theme}")
        await phone.click("#people-toggle")
        await audit(phone, f"phone, people, {theme}")
        await phone.click("#people-close")
        await phone.click("#to-rooms")
        await audit(phone, f"phone, rooms, {theme}")
        wide = await phone.evaluate("document.documentElement.scrollWidth <= innerWidth")
        check(wide, "nothing is wider than a phone")
    check(not faults, "\n      ".join(["serious faults:", *faults]))
    page = await bench.page("che", room)
    reached = set()
    for _ in range(40):
        await page.keyboard.press("Tab")
        reached.add(await page.evaluate("document.activeElement.id || document.activeElement.className"))
    for wanted in ("add-room", "room", "theme", "sign-out", "leave-room", "log", "text", "send"):
        check(wanted in reached, f"the keyboard reaches {wanted}: {sorted(reached)}")


TALK = [
    ("Zoë", "Morning! Are all three nodes up?"),
    ("김민준", "네, 세 개 다 올라왔어요. 방금 확인했습니다 🎉"),
    ("김민준", "재시작하는 동안에도 빠진 메시지는 없었어요."),
    ("נועה", "מצוין! אצלי הכול עובד, גם מהטלפון."),
    ("Zoë", "I killed node-2 in the middle of a sentence and did not notice. See https://example.org/martlet/runs/42"),
    ("Samuel", "🚀"),
    ("Samuel", "Then let us move the team over this afternoon. I will write the note; could somebody check the proxy's "
               "timeouts before that?"),
]


async def check_tour(bench):
    """A talk in four scripts, wide and on a phone, light and dark: the pictures for the README."""
    lobby, other = ("lobby", "Deploys") if bench.shots else (bench.room("lobby"), bench.room("Deploys"))
    devices = [("Zoë", "Mac"), ("김민준", "phone"), ("김민준", "laptop"), ("נועה", "phone"), ("Samuel", "Linux PC")]
    sockets = {(user, device): await bench.talker(user, lobby, device) for user, device in devices}
    spoken = {user: socket for (user, _), socket in sockets.items()}

    async def talk(user, room, text):
        await spoken[user].send(json.dumps({"type": "send", "ref": 1, "room": room, "text": text}))
        while not await bench.answer(spoken[user]):
            pass

    for theme in ("light", "dark"):
        page = await bench.page("ana", lobby, **WIDE, color_scheme=theme)
        await page.click("#add-room")
        await page.fill("#join-name", other)
        await page.keyboard.press("Enter")
        await holds(page, "/here · on/.test(document.getElementById('subtitle').textContent)")
        await page.click(".room")
        if theme == "light":
            for user, text in TALK:
                await talk(user, lobby, text)
            await say(page, "I can do that. Two minutes ☕")
            await say(page, "Done: an hour for the WebSocket, two seconds to connect.")
        await bench.fill(other, [f"build {number} is green" for number in (417, 418)])
        await spoken["Zoë"].send(json.dumps({"type": "signal", "room": lobby, "name": "typing"}))
        await holds(page, "document.getElementById('typing').textContent === 'Zoë is typing'")
        await holds(page, "document.querySelectorAll('.device').length >= 6")
        await bench.picture(page, f"tour-wide-{theme}")
        phone = await bench.page("ana", lobby, **PHONE, color_scheme=theme)
        await bench.picture(phone, f"tour-phone-{theme}")
        await page.context.close()
        bench.contexts.remove(page.context)
    for socket in sockets.values():
        await socket.close()
