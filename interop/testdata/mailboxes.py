"""the module mailbox and what posta-store exports and imports: MODE FOLDER"""
import email.utils
import json
import mailbox
import sys

mode, folder = sys.argv[1:]
texts = ["plain\n", "From me\n\nFrom eve@example.org Thu Jan  1 00:00:00 1970\n>From x\n>>From y\n\n\n", "", "umlaut \u00fc and a dot\n.\n"]


def show(box, name, m):
    """One line of JSON for a message as Python sees it."""
    raw = m.as_bytes() if isinstance(m, mailbox.MaildirMessage) else bytes(m)
    header, _, body = raw.partition(b"\n\n")
    print(json.dumps({
        "box": name, "kind": box, "subject": m["Subject"], "flags": "".join(sorted(m.get_flags())), "body": body.decode("utf-8", "replace"),
        "date": int(m.get_date()) if isinstance(m, mailbox.MaildirMessage) else int(email.utils.mktime_tz(email.utils.parsedate_tz(m.get_from().split(" ", 1)[1]))),
    }))


if mode == "read-mbox":
    for name in ["INBOX", "Work/Plans"]:
        box = mailbox.mbox(f"{folder}/{name}.mbox", create=False)
        for key in box.keys():
            show("mbox", name, box.get_message(key))
elif mode == "read-maildir":
    top = mailbox.Maildir(folder, create=False)
    assert sorted(top.list_folders()) == ["Work", "Work.Plans"], top.list_folders()
    for name, box in [("INBOX", top), ("Work/Plans", top.get_folder("Work.Plans"))]:
        for key in box.keys():
            show("maildir", name, box.get_message(key))
elif mode == "write":
    inbox, plans = mailbox.mbox(f"{folder}/mbox/INBOX.mbox"), mailbox.mbox(f"{folder}/mbox/Plans.mbox")
    md = mailbox.Maildir(f"{folder}/maildir")
    sub = md.add_folder("Work.Plans")
    for boxes, kind in [((inbox, plans), mailbox.mboxMessage), ((md, sub), mailbox.MaildirMessage)]:
        for i, text in enumerate(texts):
            m = kind(b"From: a@example.org\nSubject: python %d\n\n" % i + text.encode())
            m.set_flags(["", "R" if kind is mailbox.mboxMessage else "S", "F", "D" if kind is mailbox.mboxMessage else "T"][i])
            if kind is mailbox.mboxMessage:
                m.set_from("a@example.org", (2026, 2, 3, 4, 5, 6 + i, 1, 34, 0))
            else:
                m.set_date(1770091506 + i)
                m.set_subdir("cur")
            boxes[i % 2].add(m)
        for box in boxes:
            box.flush()
            box.close()
print("all done")
