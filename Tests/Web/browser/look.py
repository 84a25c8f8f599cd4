"""How it looks and who can use it: axe-core, the keyboard, and the pictures."""
import json

from bench import PHONE, WIDE, audit, check, holds, say, shows, texts


async def check_access(bench):
    """axe-core finds no fault: entering, talk, dialog, phone; light and dark. The keyboard reaches everything."""
    room = bench.room("access")
    await bench.fill(room, ["hello", "https://example.org", "مرحبا", "🎉"])
    faults, passed = [], []

    async def look(page, name):
        found, rules = await audit(page, name)
        passed.append(rules)
        faults.extend(found)

    for theme in ("light", "dark"):
        context = await bench.browser.new_context(**WIDE, color_scheme=theme)
        bench.contexts.append(context)
        page = await context.new_page()
        await page.goto(bench.urls[0])
        await look(page, f"entering, {theme}")
        await bench.picture(page, f"enter-{theme}")
        page = await bench.page("ana", room, **WIDE, color_scheme=theme)
        await say(page, "mine")
        await shows(page, "mine")
        await look(page, f"talk, {theme}")
        await page.click("#add-room")
        await look(page, f"dialog, {theme}")
        await bench.picture(page, f"dialog-{theme}")
        await page.keyboard.press("Escape")
        phone = await bench.page("bo", room, **PHONE, color_scheme=theme)
        await look(phone, f"phone, {theme}")
        await bench.picture(phone, f"phone-{theme}")
        await phone.click("#people-toggle")
        await look(phone, f"phone, people, {theme}")
        await bench.picture(phone, f"phone-people-{theme}")
        await phone.click("#people-close")
        await phone.click("#to-rooms")
        await look(phone, f"phone, rooms, {theme}")
        await bench.picture(phone, f"phone-rooms-{theme}")
        wide = await phone.evaluate("document.documentElement.scrollWidth <= innerWidth")
        check(wide, "nothing is wider than a phone")
    print(f"    {len(passed)} views, {min(passed)} to {max(passed)} rules passed by each")
    check(not faults, "\n      ".join(["faults:", *faults]))
    page = await bench.page("che", room)
    reached = set()
    for _ in range(40):
        await page.keyboard.press("Tab")
        reached.add(await page.evaluate("document.activeElement.id || document.activeElement.className"))
    for wanted in ("add-room", "room", "theme", "sign-out", "leave-room", "log", "text", "send"):
        check(wanted in reached, f"the keyboard reaches {wanted}: {sorted(reached)}")


async def check_lines(bench):
    """What a node says of its log is a line in the talk: a gap, a reset; a send that it refuses can be tried again."""
    room = bench.room("lines")
    sides = []

    def wire(page_side):
        node_side = page_side.connect_to_server()
        sides.append(page_side)

        def to_node(text):
            frame = json.loads(text)
            if frame["type"] == "send" and frame["text"] == "refused":
                page_side.send(json.dumps({"type": "error", "ref": frame["ref"], "code": 301, "name": "forbidden",
                                           "message": "you may not say that", "retry": False}))
            else:
                node_side.send(text)

        page_side.on_message(to_node)

    page = await bench.page("ana", room, wire=wire)
    await say(page, "first")
    await page.wait_for_selector(".row.mine .stored")
    position = (await page.get_attribute("#rows .meta", "title")).split(" · ")[-1]
    epoch, seq = position.split("-")
    await say(page, "refused")
    await page.wait_for_selector(".failure")
    check("Not stored: you may not say that" in await page.text_content(".failure"), "why is said")
    sides[-1].send(json.dumps({"type": "gap", "room": room, "after": position, "before": f"{epoch}-{int(seq) + 13}"}))
    await holds(page, "/12 messages said meanwhile are no longer/.test(document.getElementById('rows').textContent)")
    await bench.picture(page, "gap-and-refusal")
    await page.click("text=Discard")
    await holds(page, "document.querySelector('.failure') === null")
    # A log that begins anew, or the page would read what the node, which knows nothing of this reset, still has before it.
    sides[-1].send(json.dumps({"type": "reset", "room": room, "position": f"{int(epoch) + 1}-0", "reason": "lost"}))
    await holds(page, "/log was lost or set back/.test(document.getElementById('rows').textContent)")
    check(await texts(page) == [], "what stood there is void")
    await bench.picture(page, "reset")


async def check_strange(bench):
    """Long and strange names and texts stay in their place, on a wide page and on a phone; nothing is cut off sideways."""
    room = f"Ein sehr langer Name für einen Raum 방 غرفة 🏔️ {bench.token}"
    name = "Donaudampfschifffahrtsgesellschaftskapitän von und zu Hohenstein"
    socket = await bench.talker(name, room, "ein Rechner mit einem sehr langen Namen im Keller des Hauses")
    said = ["가나다라마바사아자차카타파하" * 12, "مرحبا بالعالم، هذه رسالة طويلة لا نهاية لها تقريبا. " * 3, "w" * 400, "👩🏽‍🚀", "ha 😂",
            "mixed עברית and English, 123 and ٤٥٦", "one\n\n\nfour", "https://example.org/" + "very/long/" * 30,
            "日本語の文章は文字の間で改行されます。" * 4]
    for text in said:
        await socket.send(json.dumps({"type": "send", "ref": 1, "room": room, "text": text}))
        while not await bench.answer(socket):
            pass
    await socket.send(json.dumps({"type": "send", "ref": 2, "room": room, "data": {"build": 417, "ok": True, "log": ["a" * 200]}}))
    for look, theme in ((WIDE, "light"), (PHONE, "dark")):
        page = await bench.page("김수한무거북이와두루미삼천갑자동방삭", room, **look, color_scheme=theme)
        await shows(page, said[-1])
        cut = await page.evaluate("""() => {
            const wide = [document.documentElement, document.getElementById('log')].filter((one) => one.scrollWidth > one.clientWidth);
            const rows = [...document.querySelectorAll('.bubble')].filter((one) => one.getBoundingClientRect().right > innerWidth + 0.5);
            return [...wide, ...rows].map((one) => one.textContent.slice(0, 40));
        }""")
        check(cut == [], f"nothing is wider than the page: {cut}")
        await bench.picture(page, f"strange-{theme}")
        await page.hover("#log")
        await page.mouse.wheel(0, -1_200)
        await bench.picture(page, f"strange-{theme}-up")
    await socket.close()


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
    sockets["CI", "runner"] = await bench.talker("CI", other, "runner")
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
        await page.click(f".room:has(.room-name:text-is('{lobby}'))")
        if theme == "light":
            for user, text in TALK:
                await talk(user, lobby, text)
            await say(page, "I can do that. Two minutes ☕")
            await say(page, "Done: an hour for the WebSocket, two seconds to connect.")
        for number in (417, 418):
            await spoken["CI"].send(json.dumps({"type": "send", "ref": number, "room": other, "text": f"Build {number} is green"}))
            while not await bench.answer(spoken["CI"]):
                pass
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
