"""CPU per request by work and proxy, as an SVG that needs no program to be read."""

from html import escape

COLOURS = {
    "pulsegate": "#0b6e4f",
    "nginx": "#8a8f98",
    "haproxy": "#b5a642",
    "envoy": "#9b6a9e",
    "pingora": "#c97b4a",
}
BAR, GAP, LEFT, WIDTH, RIGHT = 13, 14, 210, 520, 120


def chart(rows: dict[str, dict[str, float]], titles: dict[str, str]) -> str:
    """`rows`: by work and proxy, CPU as a ratio to the better of nginx and HAProxy."""
    widest = 3.0  # longer bars are cut, with their figure beside them
    parts, y = [], 46
    for work, ratios in rows.items():
        parts.append(text(LEFT - 10, y + BAR, titles[work], "end", 12, "#222", bold=True))
        for name, ratio in ratios.items():
            width = min(ratio, widest) / widest * WIDTH
            more = " »" if ratio > widest else ""
            parts.append(f'<rect x="{LEFT}" y="{y}" width="{width:.1f}" height="{BAR - 2}" fill="{COLOURS[name]}"/>')
            parts.append(text(LEFT + width + 5, y + BAR - 3, f"{ratio:.2f}{more} {name}", "start", 10, "#333"))
            y += BAR
        y += GAP
    one = LEFT + WIDTH / widest
    head = [
        text(10, 18, "CPU time of the proxy per request", "start", 14, "#111", bold=True),
        text(10, 35, "1.00 is the better of nginx and HAProxy in the same run; less is better", "start", 11, "#444"),
        f'<line x1="{one:.1f}" y1="42" x2="{one:.1f}" y2="{y - GAP}" stroke="#444" stroke-dasharray="3 3"/>',
    ]
    size = f'width="{LEFT + WIDTH + RIGHT}" height="{y}" viewBox="0 0 {LEFT + WIDTH + RIGHT} {y}"'
    ground = f'<rect width="100%" height="100%" fill="#fff"/>'
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">', ground, *head, *parts, "</svg>"]
    return "\n".join(lines) + "\n"


def text(x: float, y: float, words: str, anchor: str, size: int, colour: str, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    style = f'font-family="Helvetica, Arial, sans-serif" font-size="{size}" fill="{colour}"{weight}'
    return f'<text x="{x:.1f}" y="{y}" text-anchor="{anchor}" {style}>{escape(words)}</text>'
