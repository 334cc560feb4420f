"""Words that China's Advertising Law does not allow in selling talk, and a finder that knows harmless neighbours.

Articles 9 (国家级、最高级、最佳 and the like), 16 to 17 (medical claims for goods that are no medicine) and 28 (promises that cannot be
shown) of the 广告法. A help for writers, not legal advice: what the authorities object to depends on the case.
"""

from __future__ import annotations

import re

GROUPS = {
    "absolute": (
        "国家级 世界级 宇宙级 国际级 最高级 顶级 顶尖 极品 极致 巅峰 王牌 领袖品牌 领导品牌 独一无二 绝无仅有 史无前例 前无古人 空前绝后 万能 无敌 "
        "全能冠军 全网第一 全国第一 销量第一 行业第一 中国第一 世界第一 排名第一 第一品牌 第一名 NO.1 TOP1 唯一 独家 首个 首家 首选 冠军品牌 "
        "全网最低价 全网最低 史上最低价 史上最低 全国最低"
    ),
    "promise": "绝对 百分之百 百分百 100%有效 100%安全 永久 永不 零风险 零副作用 无副作用 无任何副作用 保证有效 包治百病 药到病除 立竿见影 一用就好",
    "medical": "根治 治愈 治疗 疗效 治病 消炎 抗癌 防癌 降血压 降血糖 减肥神器 特效 祖传秘方 神药 医用级",
    "authority": (
        "国宴专用 国家机关专供 人民大会堂专用 特供 专供 驰名商标 国家免检 免检产品 央视推荐 专家推荐 国家领导人推荐"
    ),
}
WORDS = tuple(word for words in GROUPS.values() for word in words.split())
# what 最 makes a superlative of; 最近, 最后, 最多可放 and 最底层 are no praise
_PRAISE = (
    "先进 受欢迎 优惠 优秀 优质 健康 耐用 耐看 耐磨 耐 畅销 时尚 时髦 安全 安静 安心 全面 全 正宗 正规 正 高级 高端 高 低价 低 便宜 便利 便捷 "
    "新鲜 新款 新潮 新 美味 美 强劲 强 大牌 好吃 好喝 好用 好看 好卖 好 佳 优 贵 省钱 省心 省电 省 快 软 轻便 轻薄 轻 薄 香 甜 纯正 纯 细腻 细 亮 "
    "火爆 火 热卖 热销 值 划算 实惠 舒服 舒适 结实 靠谱 专业 权威 环保 天然 鲜"
).split()
_MOST = re.compile(
    r"最(?!高可|低可|高温度|低温度|大承重|新鲜时)(?:" + "|".join(sorted(_PRAISE, key=len, reverse=True)) + ")"
)
# 第一 as a rank; 第一次, 第一步 and 第一件 only count
_FIRST = re.compile(
    r"(?<![全国网业量界名])第一(?![次步天眼口遍批件层支杯集季页周年代名排场波轮格档道只位段款勺包袋片瓶条盒锅餐晚晨颗块套份双下个]|时间|人称|品牌)"
)


def ad_words(text: str) -> list[str]:
    """Every forbidden word once, in the order of the text; of two that overlap the longer one."""
    spans = [match.span() for word in WORDS for match in re.finditer(re.escape(word), text)]
    spans += [match.span() for form in (_MOST, _FIRST) for match in form.finditer(text)]
    found, end = [], 0
    for start, stop in sorted(spans, key=lambda span: (span[0], -span[1])):
        if start >= end:
            found.append(text[start:stop])
            end = stop
    return list(dict.fromkeys(found))
